import { Writable } from 'node:stream';
import { Controller, Get, Logger, Param } from '@nestjs/common';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest';
import { createLogger, format, transports } from 'winston';
import { contextLogFields, ContextLogger, ContextService, createContextKey } from 'nestjs-async-context';
import { contextMixin } from 'nestjs-async-context/pino';
import { contextFormat, contextMeta } from 'nestjs-async-context/winston';
import type { TimeRecord } from '../../lib/cost/time-record';
import { isOurField, LINE_FIELDS, type OurField, REPORT_FIELDS } from '../../lib/context/our-fields';
import type { Tally } from '../../lib/guards/breaker/breaker';
import { platforms, startApp, type TestApp, type TestAppOptions } from '../support/platforms';

type Line = Record<string, unknown>;

interface Plan {
  readonly name: string;
}

const TENANT = createContextKey<string>('tenant', { log: true });
const PLAN = createContextKey<Plan>('plan', { log: plan => plan.name });
const SECRET = createContextKey<string>('secret');
const own = { tenant: 'acme', plan: 'large', version: '1.4.2' };

const written: string[] = [];
const stream = new Writable({
  write(chunk: Buffer, _encoding, done) {
    written.push(String(chunk));
    done();
  },
});
const logPino = pino({ mixin: contextMixin() }, { write: text => written.push(text) });
const logWinston = createLogger({
  defaultMeta: contextMeta(),
  format: format.combine(contextFormat(), format.json()),
  transports: [new transports.Stream({ stream })],
});

function raise(): never {
  throw new TypeError('no value');
}

let inside: () => void = () => undefined;

@Controller()
class OrdersController {
  constructor(private readonly context: ContextService) {}

  @Get('orders/:tenant')
  list(@Param('tenant') tenant: string): string {
    this.context.set(TENANT, tenant);
    this.context.set(PLAN, { name: 'large' });
    this.context.set(SECRET, 'hidden');
    inside();
    this.context.record({ system: 'shop', collection: 'orders', rows: 1, durationMs: 1 });
    this.context.record({ system: 'shop', collection: 'orders', rows: 1, durationMs: 1 });
    return tenant;
  }
}

let test: TestApp | undefined;
beforeEach(() => {
  written.length = 0;
});
afterEach(async () => {
  await test?.close();
  test = undefined;
  inside = () => undefined;
  vi.restoreAllMocks();
  Logger.overrideLogger(false);
});

const start = (options: TestAppOptions): Promise<TestApp> =>
  startApp({ controllers: [OrdersController], logFields: () => ({ version: '1.4.2' }), ...options });

/** The lines that a request of the tenant `acme` makes one logger write. */
async function linesOf(options: TestAppOptions, log: () => void): Promise<string[]> {
  for (const output of [process.stdout, process.stderr])
    vi.spyOn(output, 'write').mockImplementation(chunk => written.push(String(chunk)) > 0);
  test = await start(options);
  written.length = 0;
  inside = log;
  await (await fetch(`${test.url}/orders/acme`)).text();
  await test.records(1);
  return [...written];
}

describe.each(platforms)('own values on each line, on %s', platform => {
  const logged = () => new Logger('Orders').warn('paid');

  it('are fields of ContextLogger in JSON mode', async () => {
    const logger = new ContextLogger({ json: true });
    const lines = await linesOf({ platform, nest: { logger } }, logged);
    const paid = lines.map(text => JSON.parse(text) as Line).find(({ message }) => message === 'paid');
    expect(paid).toMatchObject({ ...own, handler: 'OrdersController.list' });
    expect(lines.join()).not.toContain('hidden');
  });

  it('stand with the request in its text', async () => {
    const long = await linesOf({ platform, nest: { logger: new ContextLogger({ short: false }) } }, logged);
    expect(long.find(line => line.includes('paid'))).toContain(' tenant=acme plan=large version=1.4.2]');
    await test!.close();
    const short = await linesOf({ platform, nest: { logger: new ContextLogger({ short: true }) } }, logged);
    expect(short.find(line => line.includes('paid'))).toMatch(
      /paid {4}req \w{8} OrdersController\.list tenant=acme plan=large version=1\.4\.2/,
    );
  });

  it('are fields of pino and winston', async () => {
    const [line] = await linesOf({ platform }, () => logPino.info('paid'));
    expect(JSON.parse(line!)).toMatchObject({ ...own, msg: 'paid' });
    await test!.close();
    const [other] = await linesOf({ platform }, () => logWinston.info('paid'));
    expect(JSON.parse(other!)).toMatchObject({ ...own, message: 'paid' });
  });

  it('are in a report and in the canonical line', async () => {
    test = await start({ platform, budget: 1, breachWindowMs: 0, canonicalLog: true });
    await (await fetch(`${test.url}/orders/acme`)).text();
    await test.records(1);
    const [report] = test.logs.lines.filter(({ context }) => context === 'QueryBudget');
    expect(report!.fields).toMatchObject(own);
    expect(report!.message).toContain(', tenant=acme, plan=large, version=1.4.2');
    const [canonical] = test.logs.lines.filter(({ context }) => context === 'Request');
    expect(canonical!.fields).toMatchObject(own);
    expect(canonical!.message).toContain('tenant=acme');
  });

  it('keep to their request', async () => {
    const seen: (readonly [string, unknown])[] = [];
    test = await start({ platform });
    const context = test.app.get(ContextService);
    inside = () => {
      const tenant = context.get(TENANT)!;
      setImmediate(() => seen.push([tenant, contextLogFields()!['tenant']]));
    };
    const tenants = Array.from({ length: 50 }, (_, i) => `t${i}`);
    await Promise.all(tenants.map(async tenant => (await fetch(`${test!.url}/orders/${tenant}`)).text()));
    await test.records(50);
    expect(seen).toHaveLength(50);
    for (const [tenant, found] of seen) expect(found).toBe(tenant);
  });
});

describe('own values', () => {
  /** The fields of a line within a unit of work. */
  const fieldsIn = (context: ContextService, values: readonly (readonly [never, unknown])[]): Line =>
    context.run({ values }, () => ({ ...contextLogFields() }));

  it('are what a line holds: cut texts, finite numbers, booleans, bigints', async () => {
    test = await startApp({});
    const key = (name: string) => createContextKey<unknown>(name, { log: true }) as never;
    const fields = fieldsIn(test.app.get(ContextService), [
      [key('fits'), 'x'.repeat(200)],
      [key('long'), 'x'.repeat(201)],
      [key('number'), 3],
      [key('infinite'), Infinity],
      [key('flag'), false],
      [key('big'), 12n],
      [key('object'), { a: 1 }],
      [key('nothing'), undefined],
    ]);
    const { requestId, traceId, spanId, ...rest } = fields;
    expect([requestId, traceId, spanId]).not.toContain(undefined);
    expect(rest).toEqual({
      fits: 'x'.repeat(200),
      long: `${'x'.repeat(199)}…`,
      number: 3,
      flag: false,
      big: '12',
    });
  });

  it('are twenty a line at most', async () => {
    test = await startApp({});
    const values = Array.from(
      { length: 21 },
      (_, i) => [createContextKey<number>(`k${i}`, { log: true }), i] as never,
    );
    const fields = fieldsIn(test.app.get(ContextService), values);
    expect(fields).toHaveProperty('k19', 19);
    expect(fields).not.toHaveProperty('k20');
  });

  it('stay on the lines that come after the close', async () => {
    test = await startApp({ logFields: context => ({ shift: context.get<string>('of') }) });
    const context = test.app.get(ContextService);
    let late: Line = {};
    const key = createContextKey<string>('tenant', { log: true });
    await context.run({ values: [[key, 'acme'], ['of', 'night'] as never] }, async () => {
      setTimeout(() => (late = { ...contextLogFields(), value: context.get(key) }), 30);
    });
    await vi.waitFor(() => expect(late).toMatchObject({ tenant: 'acme', shift: 'night' }));
    expect(late['value']).toBeUndefined();
  });

  it('are asked for no more after the close, when user and values are gone', async () => {
    let asked = 0;
    test = await startApp({
      logFields: context => {
        asked += 1;
        return { guest: context.user === undefined ? true : undefined };
      },
    });
    const context = test.app.get(ContextService);
    let late: Line | undefined;
    await context.run({ user: { id: '7' } }, async () => {
      setTimeout(() => (late = { ...contextLogFields() }), 30);
    });
    const before = asked;
    await vi.waitFor(() => expect(late).toMatchObject({ userId: '7' }));
    expect(late).not.toHaveProperty('guest');
    expect(asked).toBe(before);
  });

  it('are none of a function that is asynchronous, which is asked once', async () => {
    let asked = 0;
    const logFields = async (): Promise<object> => {
      asked += 1;
      await Promise.resolve();
      new Logger('Orders').warn('from within');
      throw new TypeError('no tenant');
    };
    test = await startApp({ logFields: logFields as never });
    const picks = createContextKey<string>('picked', {
      log: (async () => Promise.reject(new Error('no'))) as never,
    });
    const context = test.app.get(ContextService);
    const fields = fieldsIn(context, [
      [picks as never, 'x'],
      [TENANT as never, 'acme'],
    ]);
    expect(fields).toHaveProperty('tenant', 'acme');
    expect(fields).not.toHaveProperty('picked');
    await new Promise(resolve => setTimeout(resolve, 30));
    expect(asked).toBe(1);
  });

  it('never replace the fields of this package', async () => {
    test = await startApp({
      logFields: () => ({ requestId: 'mine', ['__proto__']: 'mine', tenant: 'acme' }),
    });
    const fields = test.app.get(ContextService).run({ requestId: 'r-1' }, () => contextLogFields());
    expect(fields).toMatchObject({ requestId: 'r-1', tenant: 'acme' });
    expect(Object.getPrototypeOf(fields)).toBe(Object.prototype);
  });

  it('are left out where the function throws, which is reported, and may log itself', async () => {
    let calls = 0;
    test = await startApp({
      logFields: () => {
        calls += 1;
        new Logger('Orders').warn('from within');
        if (calls > 1) throw new TypeError('no tenant');
        return { tenant: 'acme' };
      },
      nest: { logger: new ContextLogger({ json: true }) },
    });
    const out = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const context = test.app.get(ContextService);
    context.run({}, () => {
      expect(contextLogFields()).toHaveProperty('tenant', 'acme');
      expect(contextLogFields()).not.toHaveProperty('tenant');
    });
    const lines = out.mock.calls.map(([text]) => String(text)).join('');
    expect(lines).toContain('logFields failed and was ignored');
  });

  it.each([
    ['throws', () => raise(), 'TypeError at own-log-fields.spec.ts:'],
    ['returns a promise', async () => 'x', 'it returned a promise, but must be synchronous'],
  ])('are without that of a key whose function %s, which is reported once', async (_what, log, why) => {
    test = await startApp({});
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    const bad = createContextKey<string>('bad', { log: log as never });
    const context = test.app.get(ContextService);
    for (let line = 0; line < 2; line += 1) {
      const fields = fieldsIn(context, [
        [bad as never, 'x'],
        [TENANT as never, 'acme'],
      ]);
      expect(fields).toHaveProperty('tenant', 'acme');
      expect(fields).not.toHaveProperty('bad');
    }
    expect(warn.mock.calls.map(([line]) => String(line))).toEqual([
      expect.stringContaining(`log of the key bad failed and was ignored: ${why}`),
    ]);
  });

  it('are without that of a getter that throws, which is reported once', async () => {
    const given = {
      before: 1,
      get broken(): string {
        return raise();
      },
      after: 2,
    };
    test = await startApp({ logFields: () => given });
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    const context = test.app.get(ContextService);
    for (let line = 0; line < 2; line += 1) {
      const fields = fieldsIn(context, [[TENANT as never, 'acme']]);
      expect(fields).toMatchObject({ tenant: 'acme', before: 1, after: 2 });
      expect(fields).not.toHaveProperty('broken');
    }
    expect(warn.mock.calls.map(([line]) => String(line))).toEqual([
      expect.stringMatching(
        /^broken of logFields failed and was ignored: TypeError at own-log-fields\.spec\.ts:\d+/,
      ),
    ]);
  });

  it('do without what no field can be read of, which is reported', async () => {
    const given = new Proxy({}, { ownKeys: () => raise() });
    test = await startApp({ logFields: () => given });
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    expect(fieldsIn(test.app.get(ContextService), [[TENANT as never, 'acme']])).toHaveProperty(
      'tenant',
      'acme',
    );
    expect(warn.mock.calls.join()).toContain('logFields failed and was ignored: TypeError');
  });

  it('stop no line where the report of a failure fails', async () => {
    test = await startApp({});
    vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => raise());
    const bad = createContextKey<string>('bad', { log: () => raise() });
    const fields = fieldsIn(test.app.get(ContextService), [
      [bad as never, 'x'],
      [TENANT as never, 'acme'],
    ]);
    expect(fields).toHaveProperty('tenant', 'acme');
  });

  it.each(['requestId', 'handler', 'level', 'message', '__proto__', '', 'x'.repeat(101)])(
    'cannot be a field called %s',
    name => {
      expect(() => createContextKey(name, { log: true })).toThrow(
        /ASYNC_CONTEXT_INVALID_OPTION.*createContextKey/,
      );
      expect(() => createContextKey(name)).not.toThrow();
    },
  );

  const beside = ['error', 'http', 'limit', 'used', 'error.text', 'status.text', 'handler.name.short'];

  it.each([...LINE_FIELDS, ...REPORT_FIELDS, ...beside, 'used.queries', 'top1.shape', 'holder3.handler'])(
    'cannot be a field called %s, which lines of this package have',
    name => {
      expect(() => createContextKey(name, { log: true })).toThrow(
        'Lines and reports of this package have a field of that name',
      );
    },
  );

  it.each(['http.version', 'tenant.status', 'top', 'errors_of_mine'])('can be a field called %s', name => {
    expect(() => createContextKey(name, { log: true })).not.toThrow();
  });

  it('are of a key whose option is a boolean or a function', () => {
    expect(() => createContextKey('x'.repeat(100), { log: true })).not.toThrow();
    expect(() => createContextKey('a', { log: 'yes' as never })).toThrow(
      'createContextKey({ log }) is "yes"',
    );
  });
});

describe('fields of the lines of this package', () => {
  it.each(['http.route.name', 'top1', 'holder2', 'records', 'used', 'error.text'])(
    '%s is no own one',
    name => {
      expect(isOurField(name)).toBe(true);
    },
  );

  it.each(['tenant', 'organisation', 'job', 'version', 'tops', 'top', 'http2', 'order.id'])(
    '%s may be an own one',
    name => {
      expect(isOurField(name)).toBe(false);
    },
  );

  it('have names that the parts which reports spread have', () => {
    expectTypeOf<keyof TimeRecord>().toExtend<OurField>();
    expectTypeOf<keyof Tally>().toExtend<OurField>();
  });

  it('are never taken for one of the application, and the other way round', async () => {
    const names = [
      ...LINE_FIELDS,
      ...REPORT_FIELDS,
      'used.other',
      'limit.other',
      'top9.shape',
      'finding9.shape',
    ];
    const ours = Object.fromEntries(names.map(name => [name, 'mine']));
    const warn = vi.spyOn(Logger.prototype, 'warn');
    const lines = await linesOf(
      {
        budget: { queries: 1, rows: 1, durationMs: 1 },
        breachWindowMs: 0,
        canonicalLog: true,
        reports: 'full',
        logFields: () => ({ ...ours, plant: 'north' }),
        nest: { logger: new ContextLogger({ json: true }) },
      },
      () => new Logger('Orders').error('paid'),
    );
    const parsed = lines.map(text => JSON.parse(text) as Line);
    const about = parsed.filter(({ context }) =>
      ['Orders', 'Request', 'QueryBudget'].includes(String(context)),
    );
    expect(new Set(about.map(({ context }) => context)).size).toBe(3);
    for (const line of about) {
      expect(line).toMatchObject({ plant: 'north', tenant: 'acme' });
      expect(Object.keys(line).filter(name => line[name] === 'mine')).toEqual([]);
      const loggers = ['level', 'pid', 'timestamp', 'message', 'context', 'plant', 'tenant', 'plan'];
      expect(Object.keys(line).filter(name => !loggers.includes(name) && !isOurField(name))).toEqual([]);
    }
    expect(warn.mock.calls.map(([line]) => String(line)).filter(line => line.includes('logFields'))).toEqual([
      'requestId of logFields failed and was ignored: its name is one of this package or of the logger, or no name at all',
    ]);
  });
});

describe('names of a schema', () => {
  it.each([
    ['ecs', { 'http.request.id': 'r-1', 'user.id': '7', 'labels.handler': 'Orders.pay' }],
    ['otel', { request_id: 'r-1', 'user.id': '7', 'code.function.name': 'Orders.pay' }],
  ] as const)('are those of %s', async (schema, expected) => {
    test = await startApp({});
    const lines: string[] = [];
    const logger = pino({ mixin: contextMixin(schema) }, { write: text => lines.push(text) });
    const seed = { requestId: 'r-1', handler: 'Orders.pay', user: { id: '7' } };
    test.app.get(ContextService).run(seed, () => logger.info('paid'));
    const line = JSON.parse(lines[0]!) as Line;
    expect(line).toMatchObject(expected);
    for (const name of ['requestId', 'traceId', 'userId', 'handler']) expect(line).not.toHaveProperty(name);
  });

  it('are those of reports as well, once a line', async () => {
    const logger = new ContextLogger({ json: true, fieldNames: 'ecs' });
    const lines = await linesOf({ budget: 1, breachWindowMs: 0, nest: { logger } }, () => undefined);
    const breach = lines.find(text => text.includes('QueryBudget'))!;
    expect(JSON.parse(breach)).toMatchObject({ 'labels.handler': 'OrdersController.list', ...own });
    expect(breach).not.toContain('"requestId"');
    expect(breach.split('"http.request.id"')).toHaveLength(2);
  });

  it('are no other', () => {
    expect(() => contextMixin('splunk' as never)).toThrow("Use 'ecs', 'otel' or an object of names.");
  });
});

it('no field of a report is a value and the beginning of another name', async () => {
  // Elasticsearch takes `a.b` for a field of the object `a`, and refuses a line where `a` is a value.
  const logger = new ContextLogger({ json: true });
  const lines = await linesOf(
    {
      budget: { queries: 1, rows: 1, durationMs: 1 },
      breachWindowMs: 0,
      canonicalLog: true,
      reports: 'full',
      nest: { logger },
    },
    () => undefined,
  );
  const names = lines.flatMap(text => Object.keys(JSON.parse(text) as Line));
  expect(names).toContain('used.queries');
  for (const name of names)
    expect(
      names.filter(other => other.startsWith(`${name}.`)),
      name,
    ).toEqual([]);
});
