import {
  type CanActivate,
  Controller,
  ForbiddenException,
  Get,
  Injectable,
  type MessageEvent,
  Query,
  Sse,
  UseGuards,
} from '@nestjs/common';
import { get, request } from 'node:http';
import { Observable } from 'rxjs';
import { Pool } from 'pg';
import { ContextService, type ContextUser, CostLimit, createContextKey } from 'nestjs-async-context';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { databaseUrl } from '../../support/database';
import { platforms, type Platform, startApp, type TestApp, until } from '../../support/platforms';
import { seeded } from '../../support/random';
import { NotingStore } from './noting-store';

const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
afterAll(() => pool.end());

const CALLER = createContextKey<string>('caller');
const exact = { query: 1, row: 0, databaseMs: 0, blockedMs: 0 } as const;

/** Points that were really spent, by caller. */
const spent = new Map<string, number>();
let atWork = 0;
let finish: () => void = () => undefined;
let isHeld = false;
let isWaiting = false;
let goOn: () => void = () => undefined;

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    isWaiting = true;
    await new Promise<void>(resolve => (goOn = resolve));
    isWaiting = false;
    return true;
  }
}

@Controller()
class WorkController {
  constructor(private readonly context: ContextService) {}

  @Get()
  @CostLimit({ burst: 2_000, restorePerSecond: 1e-9, by: CALLER, cost: exact, estimate: 5, name: 'work' })
  async work(@Query() { caller = '', before = '0', after = '0', late = '0', outcome = '' }: Work) {
    atWork += 1;
    try {
      this.#spend(caller, Number(before));
      await new Promise(resolve => setTimeout(resolve, 2));
      this.#spend(caller, Number(after));
      if (outcome === 'forbidden') {
        // Who is turned away pays nothing.
        spent.set(caller, spent.get(caller)! - Number(before) - Number(after));
        throw new ForbiddenException();
      }
      if (outcome === 'fails') throw new Error('of the application');
      if (late !== '0') setTimeout(() => this.#spend(caller, Number(late)), 30);
      return 'ok';
    } finally {
      atWork -= 1;
    }
  }

  @Get('never')
  @CostLimit({
    burst: 100,
    restorePerSecond: 1e-9,
    by: 'ip',
    cost: exact,
    estimate: 5,
    name: 'never',
    maxHoldMs: 50,
  })
  async never() {
    this.#spend('never', 20);
    isHeld = true;
    await new Promise<void>(resolve => (finish = resolve));
    this.#spend('never', 3);
    return 'at last';
  }

  @Get('guarded')
  @CostLimit({ burst: 10, restorePerSecond: 1e-9, by: 'ip', cost: exact, estimate: 5, name: 'guarded' })
  @UseGuards(SlowGuard)
  guarded() {
    this.#spend('guarded', 7);
  }

  @Get('forgotten')
  @CostLimit({
    burst: 1_000,
    restorePerSecond: 1e-9,
    by: 'ip',
    cost: { query: 1, row: 5, databaseMs: 0, blockedMs: 0 },
    estimate: 1,
    name: 'forgotten',
  })
  forgotten() {
    void pool.query('SELECT pg_sleep(0.1) FROM generate_series(1, 3)');
    return 'not awaited';
  }

  @Get('rows')
  @CostLimit({
    burst: 1_000,
    restorePerSecond: 1e-9,
    by: 'ip',
    cost: { query: 1, row: 5, databaseMs: 0, blockedMs: 0 },
    estimate: 1,
    name: 'rows',
  })
  async rows() {
    isHeld = true;
    await new Promise<void>(resolve => (finish = resolve));
    await pool.query('BEGIN');
    await pool.query('SELECT generate_series(1, 3)');
    await pool.query('COMMIT');
    this.context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1, rows: 2 });
  }

  @Get('user')
  @CostLimit({ burst: 100, restorePerSecond: 1, by: 'user', cost: exact, estimate: 1, name: 'user' })
  user() {
    this.context.setUser({ id: 'alice' } as ContextUser);
    return 'alice';
  }

  @Sse('stream')
  @CostLimit({
    burst: 100,
    restorePerSecond: 1e-9,
    by: 'ip',
    cost: exact,
    estimate: 5,
    name: 'stream',
    maxHoldMs: 20,
  })
  stream(): Observable<MessageEvent> {
    return new Observable(subscriber => {
      const timer = setInterval(() => {
        this.#spend('stream', 1);
        subscriber.next({ data: 'x' });
      }, 5);
      return () => clearInterval(timer);
    });
  }

  #spend(caller: string, points: number): void {
    spent.set(caller, (spent.get(caller) ?? 0) + points);
    for (let i = 0; i < points; i++)
      this.context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 });
  }
}

interface Work {
  readonly caller?: string;
  readonly before?: string;
  readonly after?: string;
  readonly late?: string;
  readonly outcome?: string;
}

const running: TestApp[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(test => test.close()));
});

async function start(platform: Platform) {
  const store = new NotingStore();
  const test = await startApp({
    platform,
    controllers: [WorkController],
    providers: [SlowGuard],
    guards: { costLimit: { store } },
    configure: app => {
      const context = app.get(ContextService);
      app.use((incoming: { url: string; originalUrl?: string }, _response: unknown, next: () => void) => {
        const { searchParams } = new URL(incoming.originalUrl ?? incoming.url, 'http://localhost');
        context.set(CALLER, searchParams.get('caller') ?? '');
        next();
      });
    },
  });
  running.push(test);
  spent.clear();
  return { test, store };
}

/** A client that leaves when its work has begun. */
async function leave(url: string, hasBegun: () => boolean): Promise<void> {
  const sent = request(url);
  sent.on('error', () => undefined);
  sent.end();
  await until(hasBegun, 'work');
  sent.destroy();
}

describe.each(platforms)('what @CostLimit() charges on %s', platform => {
  it('is what was spent, whatever becomes of the requests', async () => {
    const { test, store } = await start(platform);
    const random = seeded(13);
    const pick = (most: number): number => Math.floor(random() * most);
    const statuses = new Map<number, number>();
    let aborted = 0;
    let sent = 0;
    const one = async (): Promise<void> => {
      const caller = `c${pick(8)}`;
      const outcome = ['ok', 'ok', 'ok', 'fails', 'forbidden', 'abort'][pick(6)]!;
      const late = pick(10) === 0 ? pick(5) : 0;
      const url = `${test.url}/?caller=${caller}&before=${pick(40)}&after=${pick(10)}&late=${late}&outcome=${outcome}`;
      sent += 1;
      if (outcome === 'abort') {
        aborted += 1;
        const before = atWork;
        const abort = new AbortController();
        const answer = fetch(url, { signal: abort.signal }).catch(() => undefined);
        await new Promise(resolve => setTimeout(resolve, before % 4));
        abort.abort();
        await answer;
        return;
      }
      const { status } = await fetch(url);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    };
    for (let round = 0; round < 50; round++) await Promise.all(Array.from({ length: 20 }, one));
    expect(sent).toBe(1_000);
    expect(aborted).toBeGreaterThan(100);
    for (const status of [200, 403, 429, 500]) expect(statuses.get(status)).toBeGreaterThan(10);
    for (let i = 0; i < 8; i++) {
      const caller = `c${i}`;
      await until(
        () => atWork === 0 && store.sum(`:${caller}`) === spent.get(caller),
        `account of ${caller}`,
      );
    }
    // Nothing comes afterwards, either.
    await new Promise(resolve => setTimeout(resolve, 1_100));
    for (let i = 0; i < 8; i++) expect(store.sum(`:c${i}`)).toBe(spent.get(`c${i}`));
  });

  it('is the same where the client has left before its turn', async () => {
    const { test, store } = await start(platform);
    await leave(`${test.url}/guarded`, () => isWaiting);
    await test.records(1);
    goOn();
    await until(() => spent.get('guarded') === 7, 'handler');
    await until(() => store.sum('guarded') === 7, 'settlement');
    // So that leaving early is no way around the limit.
    await leave(`${test.url}/guarded`, () => isWaiting);
    await test.records(2);
    goOn();
    await until(() => store.takes.at(-1)?.need === 7, 'refusal');
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(store.sum('guarded')).toBe(7);
    expect(spent.get('guarded')).toBe(7);
  });

  it('is what it has cost by then where it does not end, and the rest when it does', async () => {
    const { test, store } = await start(platform);
    isHeld = false;
    await leave(`${test.url}/never`, () => isHeld);
    await until(() => store.sum('never') === 20, 'settlement');
    expect(test.logs.of('warn', 'AsyncContext').join('\n')).toContain(
      '@CostLimit() of never: a request is still running after',
    );
    finish();
    await until(() => store.sum('never') === 23, 'settlement of the rest');
  });

  it('is also what queries return that are made when the client has left', async () => {
    const { test, store } = await start(platform);
    isHeld = false;
    await leave(`${test.url}/rows`, () => isHeld);
    await test.records(1);
    finish();
    await until(() => store.sum('rows') !== 1, 'settlement');
    expect(store.sum('rows')).toBe(2 * 1 + 5 * 5);
    expect((await test.records(1))[0]?.queries.rows).toBe(0);
  });

  it('is also what queries cost that nobody awaits, when they have ended', async () => {
    const { test, store } = await start(platform);
    expect((await fetch(`${test.url}/forgotten`)).status).toBe(200);
    await until(() => store.sum('forgotten') === 16, 'settlement of three rows');
    const [record] = await test.records(1);
    expect(record?.queries).toMatchObject({ count: 1, late: 0 });
  });

  it('is charged to the address where the user comes too late, which is said once', async () => {
    const { test, store } = await start(platform);
    for (let i = 0; i < 2; i++) expect((await fetch(`${test.url}/user`)).status).toBe(200);
    await test.records(2);
    await until(() => store.sum('user|x:127.0.0.1') === 0 && store.takes.length >= 4, 'settlement');
    const said = test.logs
      .of('warn', 'AsyncContext')
      .filter(line => line.includes('there was no user when the guard ran'));
    expect(said).toHaveLength(1);
  });

  it('is what a stream has cost when it is closed', async () => {
    const { test, store } = await start(platform);
    await new Promise<void>(resolve => {
      const sent = get(`${test.url}/stream`, response => {
        response.on('error', () => undefined);
        void until(() => (spent.get('stream') ?? 0) > 5, 'events').then(() => {
          sent.destroy();
          resolve();
        });
      });
      sent.on('error', () => undefined);
    });
    await test.records(1);
    await until(() => store.sum('stream') === spent.get('stream'), 'settlement');
    expect(test.logs.of('warn', 'AsyncContext').join('\n')).not.toContain('is still running');
  });
});
