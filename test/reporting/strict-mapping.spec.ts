import { Controller, Get, Headers, Logger, Param } from '@nestjs/common';
import { Logger as PinoNestLogger, LoggerModule } from 'nestjs-pino';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  Concurrency,
  ContextLogger,
  ContextService,
  createContextKey,
  QueryBudget,
} from 'nestjs-async-context';
import { contextMixin } from 'nestjs-async-context/pino';
import { CostlyController, makeTrouble } from '../support/costly-app';
import { startApp, type TestApp, type TestAppOptions, until } from '../support/platforms';
import { StrictMapping } from '../support/strict-mapping';

describe('a strict mapping', () => {
  const mapping = (...documents: object[]): StrictMapping => {
    const index = new StrictMapping();
    for (const document of documents) index.add(document);
    return index;
  };

  it.each([
    ['a value and the beginning of another name', { queries: 3 }, { 'queries.used': 3 }],
    ['the beginning of a name and a value', { 'limit.queries': 3 }, { limit: 3 }],
    ['an object and a text', { user: { id: '7' } }, { user: 'seven' }],
    ['a text and an object', { user: 'seven' }, { user: { id: '7' } }],
    ['a number and a text', { status: 200 }, { status: 'ok' }],
    ['a number and an empty text', { status: 200 }, { status: '' }],
    ['a number and a boolean', { slow: 1 }, { slow: true }],
    ['a boolean and a text', { aborted: false }, { aborted: 'no' }],
    ['a boolean and a number', { aborted: false }, { aborted: 1 }],
    ['a date and a text', { at: '2026-11-20T12:00:00.000Z' }, { at: 'orders.service.ts:44' }],
    ['a number and a list of texts', { rows: 1 }, { rows: [1, 'many'] }],
    ['an object in a list, and a value', { calls: [{ ms: 1 }] }, { calls: [2] }],
  ])('refuses %s', (_what, first, second) => {
    const index = mapping(first);
    expect(() => index.add(second)).toThrow('is mapped as');
    expect(index.documents).toBe(1);
    expect(() => index.add(first)).not.toThrow();
  });

  it('refuses both in one document, and a name with an empty part', () => {
    expect(() => mapping({ a: 1, 'a.b': 2 })).toThrow('[a] is mapped as long, and refuses object');
    expect(() => mapping({ 'a..b': 1 })).toThrow('a part without a name');
  });

  it.each([
    [{ a: { b: 1 } }, { 'a.b': 2 }],
    [{ a: 'text' }, { a: 1 }],
    [{ a: 1 }, { a: '2' }],
    [{ a: 1.5 }, { a: 2 }],
    [{ a: null }, { a: 'text' }],
    [{ a: '2026' }, { a: 'text' }],
    [{ a: [] }, { a: {} }],
  ])('accepts %j and then %j', (first, second) => {
    expect(mapping(first, second).documents).toBe(2);
  });

  it('accepts a fraction in a whole number, and tells that it is cut', () => {
    expect([...mapping({ a: 1.5, b: 1 }, { a: 2, b: 1.5 }).truncated]).toEqual(['b']);
  });

  it('accepts 1,000 fields, and no more', () => {
    const numbers = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, i]));
    expect(() => mapping(numbers(1_000))).not.toThrow();
    expect(() => mapping(numbers(1_000)).add({ more: 1 })).toThrow('Limit of total fields [1000]');
    // A text has a `keyword`.
    expect(() => mapping(numbers(998), { text: 'a' })).not.toThrow();
    expect(() => mapping(numbers(999), { text: 'a' })).toThrow('Limit of total fields');
  });
});

const TENANT = createContextKey<string>('tenant', { log: true });
const ATTEMPT = createContextKey<number>('attempt', { log: true });
const PLAN = createContextKey<{ name: string }>('plan', { log: plan => plan.name });

@Controller('shop')
class ShopController {
  readonly #logger = new Logger('Shop');

  constructor(private readonly context: ContextService) {}

  @Get('orders/:id')
  order(@Param('id') id: string): string {
    this.context.set(TENANT, Number(id) % 2 === 0 ? 'acme' : 'north');
    this.context.set(ATTEMPT, Number(id));
    this.context.set(PLAN, { name: 'large' });
    this.context.setUser({ id: `user-${id}` });
    this.#query('orders', 3);
    this.#logger.log(`order ${id}`);
    return id;
  }

  @Get('repeats')
  @QueryBudget({ queries: 5, rows: 10, durationMs: 1, http: 1, cache: 1, perTable: { items: 2 }, repeats: 1 })
  async repeats(@Headers('host') host: string): Promise<string> {
    this.#query('items', 30);
    await Promise.all([1, 2, 3].map(id => fetch(`http://${host}/shop/orders/${id}`)));
    this.#logger.error(new Error('sold out'));
    return 'repeated';
  }

  @Get('calls')
  async calls(@Headers('host') host: string): Promise<string> {
    for (const id of [1, 2, 3]) await (await fetch(`http://${host}/shop/orders/${id}`)).text();
    await sleep(120);
    return 'called';
  }

  @Get('holds')
  @Concurrency({ limit: 1, maxHoldMs: 100 })
  async holds(): Promise<string> {
    await sleep(250);
    return 'held';
  }

  @Get('blocks')
  blocks(): string {
    const end = performance.now() + 400;
    while (performance.now() < end);
    return 'blocked';
  }

  @Get('fails')
  fails(): never {
    void Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNRESET' }));
    throw new TypeError('no value');
  }

  #query(table: string, times: number): void {
    for (let i = 0; i < times; i += 1)
      this.context.record({ system: 'shop', collection: table, rows: 1, durationMs: 1.5 });
  }
}

const PATHS = ['repeats', 'calls', 'holds', 'holds', 'blocks', 'fails', 'nothing'];
const REQUESTS = 520;

const options: TestAppOptions = {
  controllers: [ShopController, CostlyController],
  canonicalLog: true,
  breachWindowMs: 0,
  reportsPerMinute: 10_000,
  slowAfterMs: 100,
  poolWaitMs: 50,
  lateAfterMs: 1,
  reports: 'full',
  logFields: () => ({ version: '1.4.2', region: undefined, weight: 0.5 }),
};

let test: TestApp | undefined;
let written: string[] = [];
afterEach(async () => {
  await test?.close();
  test = undefined;
  vi.restoreAllMocks();
  Logger.overrideLogger(false);
});

/** All lines that an application writes from its start to its end, while everything happens that is reported. */
async function linesOf(more: TestAppOptions): Promise<Record<string, unknown>[]> {
  written = [];
  for (const output of [process.stdout, process.stderr])
    vi.spyOn(output, 'write').mockImplementation(chunk => written.push(String(chunk)) > 0);
  test = await startApp({ ...options, ...more });
  const { url, app } = test;
  await makeTrouble(test);
  const ask = async (path: string): Promise<unknown> => (await fetch(`${url}/shop/${path}`)).text();
  const theirs = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', () => undefined);
  await Promise.all(PATHS.map(ask));
  await sleep(20);
  process.removeAllListeners('unhandledRejection');
  for (const listener of theirs) process.on('unhandledRejection', listener);
  for (let id = 0; id < REQUESTS; id += 10)
    await Promise.all(Array.from({ length: 10 }, (_, i) => ask(`orders/${id + i}`)));
  await until(() => written.length >= 2 * REQUESTS, 'lines');
  await app.close();
  test = undefined;
  vi.restoreAllMocks();
  return written
    .join('')
    .split('\n')
    .filter(text => text !== '')
    .map(text => JSON.parse(text) as Record<string, unknown>);
}

/** The document of each line that the index refuses, with the reason. */
function refusedOf(index: StrictMapping, lines: readonly object[]): string[] {
  const refused = new Set<string>();
  for (const line of lines) {
    try {
      index.add(line);
    } catch (error) {
      refused.add(`${(error as Error).message} of ${JSON.stringify(line)}`);
    }
  }
  return [...refused];
}

const LOGGERS = [
  'Shop',
  'Request',
  'QueryBudget',
  'SlowRequest',
  'LateWork',
  'UnhandledErrors',
  'EventLoop',
  'Guards',
  'ConnectionPool',
];

describe.each([undefined, 'ecs', 'otel'] as const)(
  'with the names %s, a strict mapping accepts',
  fieldNames => {
    const check = (lines: Record<string, unknown>[]): void => {
      expect(lines.length).toBeGreaterThan(1_000);
      const contexts = new Set(lines.map(({ context }) => context));
      for (const logger of LOGGERS) expect(contexts).toContain(logger);
      expect(JSON.stringify(lines)).toContain('A query ran outside of any request');
      // What comes first decides on the type.
      for (const order of [lines, lines.toReversed()]) {
        const index = new StrictMapping();
        expect(refusedOf(index, order)).toEqual([]);
        expect(index.types.get('attempt')).toBe('long');
        // A duration that happened to be whole at first.
        expect([...index.truncated].filter(path => !/(?:Ms|Share)$/.test(path))).toEqual([]);
      }
    };

    it('every line of ContextLogger', async () => {
      const logger = new ContextLogger({ json: true, ...(fieldNames && { fieldNames }) });
      check(await linesOf({ nest: { logger } }));
    });

    it('every line of nestjs-pino', async () => {
      const stream = { write: (text: string) => written.push(text) };
      const pinoHttp = [{ mixin: contextMixin(fieldNames) }, stream] as const;
      const imports = [LoggerModule.forRoot({ forRoutes: ['*path'], pinoHttp: pinoHttp as never })];
      const configure: TestAppOptions['configure'] = app => app.useLogger(app.get(PinoNestLogger));
      check(await linesOf({ imports, configure, nest: { bufferLogs: true } }));
    });
  },
);
