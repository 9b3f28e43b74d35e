import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  Get,
  Injectable,
  Param,
  Res,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  ContextService,
  CostLimit,
  CostLimitGuard,
  type ContextUser,
  createContextKey,
  ProcessFigures,
} from 'nestjs-async-context';
import { parseList } from 'structured-headers';
import { afterEach, describe, expect, it } from 'vitest';
import { platforms, startApp, type TestApp, type TestAppOptions, until } from '../../support/platforms';
import { NotingStore } from './noting-store';

/** Who somebody is comes with a header. */
@Injectable()
class HeaderGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(execution: ExecutionContext): boolean {
    const { headers } = execution.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    const id = headers['x-user'];
    if (id !== undefined) this.context.setUser({ id } as ContextUser);
    return true;
  }
}

const exact = { query: 1, row: 0, databaseMs: 0, blockedMs: 0 } as const;
const TENANT = createContextKey<string>('tenant');

/** Makes as many queries as it is asked for. */
function spend(context: ContextService, points: number): void {
  for (let i = 0; i < points; i++)
    context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 });
}

@Controller('orders')
class OrdersController {
  constructor(private readonly context: ContextService) {}

  @Get('free')
  free() {
    return 'free';
  }

  @Get('fixed/:points')
  @CostLimit({ burst: 100, restorePerSecond: 10, by: 'user', cost: exact, estimate: 10, name: 'orders' })
  @UseGuards(HeaderGuard)
  fixed(@Param('points') points: string) {
    spend(this.context, Number(points));
    return points;
  }

  @Get('learning')
  @CostLimit({ burst: 1_000, restorePerSecond: 10, by: 'user', cost: exact })
  @UseGuards(HeaderGuard)
  async learning() {
    spend(this.context, 7);
    await wait();
    return 'learned';
  }

  @Get('dear')
  @CostLimit({ burst: 50, restorePerSecond: 10, by: 'ip', cost: exact, estimate: 80 })
  dear() {
    spend(this.context, 80);
    return 'dear';
  }

  @Get('forbidden')
  @CostLimit({ burst: 100, restorePerSecond: 10, by: 'ip', cost: exact, estimate: 60 })
  forbidden() {
    spend(this.context, 50);
    throw new ForbiddenException();
  }

  @Get('fails')
  @CostLimit({ burst: 100, restorePerSecond: 10, by: 'ip', cost: exact, estimate: 60 })
  fails() {
    spend(this.context, 50);
    throw new Error('of the application');
  }

  @Get('dry')
  @CostLimit({ burst: 10, restorePerSecond: 1, by: 'ip', cost: exact, estimate: 10, dryRun: true })
  dry() {
    spend(this.context, 10);
    return 'dry';
  }

  @Get('headers')
  @CostLimit({ burst: 100, restorePerSecond: 10, by: 'ip', cost: exact, estimate: 10 })
  headers(@Res({ passthrough: true }) response: { header(name: string, value: string): void }) {
    response.header('x-own', 'kept');
    return 'headers';
  }

  @Get('order')
  @UseGuards(HeaderGuard)
  @CostLimit({ burst: 100, restorePerSecond: 10, by: 'user', cost: exact, estimate: 10 })
  order() {
    return 'order';
  }

  @Get('plans/:plan')
  @CostLimit({
    burst: ({ user }) =>
      ({ free: 10, paid: 1_000, unlimited: Infinity, broken: Number.NaN })[idOf(user)] ?? 1,
    restorePerSecond: () => Promise.resolve(1),
    by: 'user',
    cost: exact,
    estimate: 10,
  })
  @UseGuards(HeaderGuard)
  plans() {
    spend(this.context, 10);
    return 'plans';
  }

  @Get('by/:what')
  @CostLimit({
    burst: 10,
    restorePerSecond: 1,
    by: () => {
      throw new Error('a secret');
    },
    cost: exact,
    estimate: 10,
  })
  by() {
    spend(this.context, 10);
    return 'by';
  }
}

@Controller('classes')
@CostLimit({ burst: 30, restorePerSecond: 1, by: TENANT, cost: exact, estimate: 10 })
class ClassController {
  constructor(private readonly context: ContextService) {}

  @Get('a')
  a() {
    spend(this.context, 10);
    return 'a';
  }

  @Get('b')
  b() {
    spend(this.context, 10);
    return 'b';
  }

  @Get('own')
  @CostLimit({ burst: 10, restorePerSecond: 1, by: 'ip', cost: exact, estimate: 10 })
  own() {
    spend(this.context, 10);
    return 'own';
  }

  @Get('none')
  @CostLimit(false)
  none() {
    return 'none';
  }
}

function idOf(user: ContextUser | undefined): 'free' | 'paid' | 'unlimited' | 'broken' {
  return (user as { id: 'free' } | undefined)?.id ?? 'free';
}

let release: (() => void)[] = [];
let holds = false;
async function wait(): Promise<void> {
  if (holds) await new Promise<void>(resolve => release.push(resolve));
}

const running: TestApp[] = [];
// A test that fails leaves no application behind: their reports share one window.
afterEach(async () => {
  await Promise.all(running.splice(0).map(test => test.close()));
});

async function start(options: Omit<TestAppOptions, 'controllers'> = {}) {
  let nowMs = 0;
  const store = new NotingStore(() => nowMs);
  const { guards, ...rest } = options;
  const test = await startApp({
    controllers: [OrdersController, ClassController],
    guards: { ...guards, costLimit: { store, ...guards?.costLimit } },
    ...rest,
  });
  running.push(test);
  const get = async (path: string, headers: Record<string, string> = {}): Promise<Response> => {
    const response = await fetch(`${test.url}/${path}`, { headers });
    await response.clone().text();
    return response;
  };
  return {
    test,
    store,
    get,
    /** The status, when what it has cost is charged. */
    async status(path: string, headers: Record<string, string> = {}): Promise<number> {
      const before = test.sink.records.length;
      const { status } = await get(path, headers);
      await test.records(before + 1);
      return status;
    },
    pass: (ms: number) => void (nowMs += ms),
  };
}

interface Item {
  readonly name: unknown;
  readonly params: Record<string, unknown>;
}

function items(response: Response, field: string): Item[] {
  return parseList(response.headers.get(field) ?? '').map(([name, params]) => ({
    name,
    params: Object.fromEntries(
      Array.from(params, ([key, value]) => [
        key,
        value instanceof ArrayBuffer ? Buffer.from(value).toString('hex') : value,
      ]),
    ),
  }));
}

const alice = { 'x-user': 'alice' };
const bob = { 'x-user': 'bob' };

describe.each(platforms)('@CostLimit() on %s', platform => {
  it('lets a caller cost so much, and others as well', async () => {
    const { test, store, status, pass } = await start({ platform });
    expect(await status('orders/free')).toBe(200);
    expect(store.takes).toEqual([]);
    for (let i = 0; i < 10; i++) expect(await status('orders/fixed/10', alice)).toBe(200);
    expect(store.sum('u:alice')).toBe(100);
    expect(await status('orders/fixed/10', alice)).toBe(429);
    expect(await status('orders/fixed/10', bob)).toBe(200);
    pass(999);
    expect(await status('orders/fixed/200', alice)).toBe(429);
    pass(1);
    expect(await status('orders/fixed/200', alice)).toBe(200);
    expect(store.sum('u:alice')).toBe(300);
    // In debt by 190, and 200 are expected, of which a bucket holds 100. No refusal delays it.
    for (let i = 0; i < 28; i++) {
      pass(1_000);
      expect(await status('orders/fixed/1', alice)).toBe(429);
    }
    pass(999);
    expect(await status('orders/fixed/1', alice)).toBe(429);
    pass(1);
    expect(await status('orders/fixed/1', alice)).toBe(200);
    expect(store.sum('u:alice')).toBe(301);
    const [line = ''] = test.logs.of('warn', 'Guards');
    expect(line).toMatch(
      /\n {2}caller {2}one user: the request is expected to cost \d+ points, and \d+ of 100 are left; 10 are restored each second\n/,
    );
    expect(line).not.toContain('reserve');
    const [record] = (await test.records(1)).filter(({ refused }) => refused !== undefined);
    expect(record).toMatchObject({ status: 429, refused: { by: 'cost-limit', reason: 'spent' } });
    expect(record?.queries.count).toBe(0);
    expect(test.app.get(ProcessFigures).refusals).toMatchObject([
      { by: 'cost-limit', reason: 'spent', handler: 'OrdersController.fixed', dryRun: false },
    ]);
  });

  it('says in each answer what is left, and in a refusal when to come again', async () => {
    const { test, get, status, pass } = await start({ platform });
    const first = await get('orders/fixed/60', alice);
    expect(items(first, 'ratelimit-policy')).toEqual([
      {
        name: 'orders',
        params: { q: 100, w: 10, pk: expect.stringMatching(/^[0-9a-f]{24}$/), 'nac-unit': 'points' },
      },
    ]);
    expect(items(first, 'ratelimit')).toEqual([
      {
        name: 'orders',
        params: { r: 90, t: 9, pk: expect.stringMatching(/^[0-9a-f]{24}$/), 'nac-unit': 'points' },
      },
    ]);
    expect(first.headers.get('ratelimit')).not.toContain('alice');
    await test.records(1);
    pass(6_000);
    expect(await status('orders/fixed/170', alice)).toBe(200);
    const refused = await get('orders/fixed/1', alice);
    expect(refused.status).toBe(429);
    expect(await refused.json()).toEqual({ statusCode: 429, message: 'Too Many Requests', reason: 'spent' });
    // In debt by 70, and 100 are needed, of which 10 come back each second.
    const [limit] = items(refused, 'ratelimit');
    expect(limit?.params).toMatchObject({ r: 0, t: 17 });
    const after = Number(refused.headers.get('retry-after'));
    expect(after).toBeGreaterThanOrEqual(17);
    expect(after).toBeLessThanOrEqual(21);
    const other = await get('orders/fixed/1', bob);
    expect(items(other, 'ratelimit')[0]?.params['pk']).not.toEqual(limit?.params['pk']);
    pass(17_000);
    expect(await status('orders/fixed/1', alice)).toBe(200);
    expect((await get('orders/free')).headers.get('ratelimit')).toBeNull();
  });

  it('leaves the headers of the application as they are, and speaks beside those of others', async () => {
    const { get } = await start({
      platform,
      configure: app => {
        app.use(
          (
            _request: unknown,
            response: { setHeader(name: string, value: string): void },
            next: () => void,
          ) => {
            response.setHeader('RateLimit', '"other";r=5;t=1');
            next();
          },
        );
      },
    });
    const response = await get('orders/headers');
    expect(response.headers.get('x-own')).toBe('kept');
    expect(items(response, 'ratelimit').map(({ name }) => name)).toEqual([
      'other',
      'OrdersController.headers',
    ]);
  });

  it('answers with a problem where that is wanted', async () => {
    const { get, status } = await start({ platform, guards: { problemJson: true } });
    expect(await status('orders/fixed/100', alice)).toBe(200);
    const refused = await get('orders/fixed/1', alice);
    expect(refused.headers.get('content-type')).toContain('application/problem+json');
    expect(await refused.json()).toEqual({
      type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
      title: 'Request cannot be satisfied as assigned quota has been exceeded',
      status: 429,
      reason: 'spent',
      'violated-policies': ['orders'],
    });
  });

  it('lets one in at a time until it knows the cost of a handler', async () => {
    const { test, get, status, store } = await start({ platform });
    holds = true;
    release = [];
    const running = get('orders/learning', alice);
    await until(() => release.length === 1, 'request');
    const refused = await get('orders/learning', alice);
    expect(refused.status).toBe(429);
    expect(((await refused.json()) as { reason: string }).reason).toBe('learning');
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(items(refused, 'ratelimit')[0]?.params).toMatchObject({ r: 1_000, t: 1 });
    const other = get('orders/learning', bob);
    await until(() => release.length === 2, 'request');
    holds = false;
    for (const end of release) end();
    expect([(await running).status, (await other).status]).toEqual([200, 200]);
    await test.records(3);
    for (let i = 2; i < 20; i++) expect(await status('orders/learning', alice)).toBe(200);
    holds = true;
    release = [];
    const many = Array.from({ length: 5 }, () => get('orders/learning', alice));
    await until(() => release.length === 5, 'requests');
    // What nearly all of them have cost is reserved while they run.
    expect(store.takes.slice(-5).map(({ need, take }) => [need, take])).toEqual(
      Array.from({ length: 5 }, () => [7, 7]),
    );
    holds = false;
    for (const end of release) end();
    for (const response of await Promise.all(many)) expect(response.status).toBe(200);
    expect(store.sum('bob')).toBe(7);
    expect(store.sum('alice')).toBe(24 * 7);
  });

  it('admits what costs more than a bucket holds when it is full', async () => {
    const { status, pass, store } = await start({ platform });
    expect(await status('orders/dear')).toBe(200);
    expect(store.sum('dear')).toBe(80);
    pass(7_999);
    expect(await status('orders/dear')).toBe(429);
    pass(1);
    expect(await status('orders/dear')).toBe(200);
  });

  it('charges nothing for who is turned away, and all for what fails', async () => {
    const { status, store } = await start({ platform });
    expect(await status('orders/forbidden')).toBe(403);
    expect(store.sum('forbidden')).toBe(0);
    expect(await status('orders/forbidden')).toBe(403);
    expect(await status('orders/fails')).toBe(500);
    expect(store.sum('fails')).toBe(50);
    expect(await status('orders/fails')).toBe(429);
    expect(store.sum('fails')).toBe(50);
  });

  it('says in a dry run whom it would refuse', async () => {
    const { test, status, store, pass } = await start({ platform });
    for (let i = 0; i < 3; i++) expect(await status('orders/dry')).toBe(200);
    expect(store.takes.filter(({ take }) => take !== 10)).toEqual([]);
    expect(test.app.get(ProcessFigures).refusals).toMatchObject([
      { by: 'cost-limit', reason: 'spent', dryRun: true, count: 2 },
    ]);
    pass(10_000);
    expect(await status('orders/dry')).toBe(200);
    expect(test.app.get(ProcessFigures).refusals).toMatchObject([{ count: 2 }]);
    expect(test.logs.of('warn', 'Guards').join('\n')).toContain(
      'OrdersController.dry would have refused a request with 429 (dry run)',
    );
  });

  it('takes the limits of a plan, and lets go on where it cannot be known', async () => {
    const { test, status, get } = await start({ platform });
    const as = (id: string): Record<string, string> => ({ 'x-user': id });
    expect(await status('orders/plans/x', as('free'))).toBe(200);
    expect(await status('orders/plans/x', as('free'))).toBe(429);
    expect((await get('orders/plans/x', as('paid'))).headers.get('ratelimit')).toContain('r=990');
    const unlimited = await get('orders/plans/x', as('unlimited'));
    expect([unlimited.status, unlimited.headers.get('ratelimit')]).toEqual([200, null]);
    expect(await status('orders/plans/x', as('broken'))).toBe(200);
    expect(test.logs.of('warn', 'AsyncContext').join('\n')).toContain('the @CostLimit() plan of');
  });

  it('has one bucket for a class, another for what says so, and none', async () => {
    const { status, store } = await start({
      platform,
      providers: [{ provide: APP_GUARD, useClass: CostLimitGuard }],
      guards: {
        costLimit: {
          default: { burst: 1_000, restorePerSecond: 1, by: 'ip', cost: exact, estimate: 3, name: 'all' },
        },
      },
      configure: app => {
        const context = app.get(ContextService);
        app.use((request: { headers: Record<string, string> }, _response: unknown, next: () => void) => {
          const tenant = request.headers['x-tenant'];
          if (tenant !== undefined) context.set(TENANT, tenant);
          next();
        });
      },
    });
    const acme = { 'x-tenant': 'acme' };
    expect(await status('classes/a', acme)).toBe(200);
    // One reservation, and one settlement where it was wrong, though both guards ran.
    expect(store.takes).toHaveLength(1);
    expect(store.takes[0]).toMatchObject({ key: 'ClassController|k:acme', take: 10 });
    expect(await status('classes/b', acme)).toBe(200);
    expect(await status('classes/a', acme)).toBe(200);
    expect(await status('classes/b', acme)).toBe(429);
    expect(await status('classes/b', { 'x-tenant': 'other' })).toBe(200);
    expect(await status('classes/own', acme)).toBe(200);
    expect(await status('classes/own', acme)).toBe(429);
    const before = store.takes.length;
    expect(await status('classes/none', acme)).toBe(200);
    expect(store.takes).toHaveLength(before);
    expect(await status('orders/free')).toBe(200);
    expect(store.takes.at(-1)?.key).toBe('all|ip:127.0.0.1');
    expect(store.sum('all')).toBe(0);
  });

  it('takes the address where nothing tells callers apart, and says so', async () => {
    const { test, status, store } = await start({ platform });
    expect(await status('orders/by/a')).toBe(200);
    expect(await status('orders/by/b')).toBe(429);
    expect(store.takes[0]?.key).toBe('OrdersController.by|x:127.0.0.1');
    expect(await status('orders/order', alice)).toBe(200);
    expect(store.takes.at(-1)?.key).toBe('OrdersController.order|x:127.0.0.1');
    const said = test.logs.of('warn', 'AsyncContext').join('\n');
    expect(said).toContain('the by function of OrdersController.by');
    expect(said).not.toContain('a secret');
    expect(said).toContain("@CostLimit({ by: 'user' }) of OrdersController.order");
    expect(said).toContain('runs before HeaderGuard');
  });
});
