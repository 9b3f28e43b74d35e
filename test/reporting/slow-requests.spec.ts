import { Controller, Get, Header, Param, Query, Sse } from '@nestjs/common';
import { AsyncResource } from 'node:async_hooks';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Pool } from 'pg';
import { of } from 'rxjs';
import { delay } from 'rxjs/operators';
import { ContextService, type CostRecord, type TimePart, type TimeRecord } from 'nestjs-async-context';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';
import { hasRedis, redisKey, redisUrl } from '../support/redis-server';

const REPETITIONS = Number(process.env['TEST_REPETITIONS'] ?? 1);
const outside = new AsyncResource('outside');
let pool: Pool;
let small: Pool;
let server: Server;
let redis: Redis;
let context: ContextService;

/** Of the processor: what a busy machine gives to others is `starved`, and comes on top. */
function work(ms: number): void {
  const end = usedMs() + ms;
  while (usedMs() < end);
}

const schedule = `/proc/${process.pid}/task/${process.pid}/schedstat`;
const hasSchedule = existsSync(schedule);

/** Milliseconds of a processor that this thread has used; of the process, where that is not known. */
function usedMs(): number {
  if (hasSchedule) return Number(readFileSync(schedule, 'utf8').split(' ', 1)[0]) / 1e6;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** The cause, unless the machine has taken the processor away for longer than that. */
function causeOr(time: TimeRecord, cause: Cause): Cause | 'starved' {
  return time.starvedMs > time[`${cause}Ms`] ? 'starved' : cause;
}

type Cause = Exclude<TimePart, 'messages' | 'slot' | 'unknown' | 'starved'>;

/** Each takes about so many milliseconds, for one reason. */
const causes: Record<Cause, (ms: number) => Promise<unknown>> = {
  database: ms => pool.query('SELECT pg_sleep($1)', [ms / 1_000]),
  async pool(ms) {
    const holder = await outside.runInAsyncScope(() => small.connect());
    outside.runInAsyncScope(() => setTimeout(() => holder.release(), ms));
    await small.query('SELECT 1');
  },
  async http(ms) {
    const { port } = server.address() as AddressInfo;
    await (await fetch(`http://127.0.0.1:${port}/${ms}`)).text();
  },
  cache: ms => redis.blpop(redisKey('nothing'), ms / 1_000),
  async own(ms) {
    work(ms);
  },
  async stalled(ms) {
    outside.runInAsyncScope(() => setTimeout(() => context.run({ handler: 'Hog.run' }, () => work(ms)), 5));
    await sleep(ms);
  },
  other: ms => sleep(ms),
};

@Controller()
class Causes {
  @Get('causes')
  async causes(@Query() query: Record<string, string>) {
    for (const [cause, ms] of Object.entries(query)) await causes[cause as Cause](Number(ms));
    return Object.keys(query);
  }

  @Get('side-by-side')
  async sideBySide() {
    await Promise.all([causes.database(100), causes.database(150), causes.http(200), causes.other(50)]);
  }

  @Get('job')
  async job() {
    await context.run({ handler: 'Nightly.run' }, () => sleep(180));
  }

  @Sse('events')
  events() {
    return of({ data: 'one' }).pipe(delay(200));
  }

  @Get('stream/:ms')
  @Header('content-type', 'text/plain')
  async plain(@Param('ms') ms: string) {
    await sleep(Number(ms));
    return 'plain';
  }
}

const sum = (time: TimeRecord): number => Object.values(time).reduce((a: number, b: number) => a + b, 0);
const all = Object.keys(causes).filter(cause => !(isEmbedded && cause === 'pool')) as Cause[];
// A list of Redis waits by itself: that it is counted as the others are needs no pairs.
const names = all.filter(cause => cause !== 'cache');
const pairs = names.flatMap((a, i) => names.slice(i + 1).flatMap(b => [[a, b] as const, [b, a] as const]));

// They measure: what else a machine does must not fail them.
describe.each(platforms)('a slow request on %s', { retry: 2 }, platform => {
  let test: TestApp;
  async function start(): Promise<void> {
    test = await startApp({ platform, controllers: [Causes], slowAfterMs: 150 });
    context = test.app.get(ContextService);
    await recordOf('/causes?database=1&http=1');
  }
  beforeAll(start);
  afterAll(() => test.close());

  async function recordOf(path: string, headers: Record<string, string> = {}): Promise<CostRecord> {
    const response = await fetch(test.url + path, { headers });
    await response.text();
    const id = response.headers.get('x-request-id');
    return until(() => test.sink.records.findLast(({ requestId }) => requestId === id), 'record');
  }

  it.each(hasRedis ? all : names)('is slow because of %s', async cause => {
    for (let i = 0; i < REPETITIONS; i += 1) {
      const { time, slow, durationMs } = await recordOf(`/causes?${cause}=200`);

      expect(slow?.because).toBe(causeOr(time, cause));
      expect(time[`${cause}Ms`]).toBeGreaterThan(180);
      expect(Math.abs(sum(time) - durationMs)).toBeLessThanOrEqual(durationMs * 0.05);
    }
  });

  it.each(pairs)('is slow because of %s rather than of %s, and says both', async (larger, smaller) => {
    for (let i = 0; i < REPETITIONS; i += 1) {
      const { time, slow } = await recordOf(`/causes?${smaller}=70&${larger}=180`);

      expect(slow?.because).toBe(causeOr(time, larger));
      expect(time[`${larger}Ms`]).toBeGreaterThan(160);
      expect(time[`${smaller}Ms`]).toBeGreaterThan(55);
    }
  });

  it('counts what runs side by side once', async () => {
    const { time, durationMs, queries } = await recordOf('/side-by-side');

    expect(queries.durationMs).toBeGreaterThan(240);
    expect(Math.abs(sum(time) - durationMs)).toBeLessThanOrEqual(durationMs * 0.05);
    // The database comes first, and is done after 150 of 200 ms.
    if (!isEmbedded) expect(time.httpMs).toBeGreaterThan(20);
    expect(time.httpMs).toBeLessThan(120);
  });

  it('is one warning in the log, with its parts', async () => {
    // The same handler and cause are said once a minute.
    await test.close();
    await start();
    const { requestId } = await recordOf('/causes?own=60&database=600');

    const lines = test.logs.of('warn', 'SlowRequest');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^Causes\.causes took [\d.]+ ms, \d+ % of it waiting for the database {4}req \S+\n/,
    );
    expect(lines[0]).toContain(`record ${requestId} in your sink`);
    expect(lines[0]).toMatch(/ {2}time [\d,]+ ms: database \d+, .*own \d+/);
    expect(lines[0]).toMatch(/ {2}1 × +SELECT pg_sleep\(\?\)/);
    const { fields } = test.logs.lines.findLast(line => line.context === 'SlowRequest')!;
    expect(fields).toMatchObject({ handler: 'Causes.causes', because: 'database', requestId });
  });

  it('is none below slowAfterMs, nor when it is a stream of events, nor when it is a job', async () => {
    const before = test.logs.of('warn', 'SlowRequest').length;
    expect(await recordOf('/causes?other=100')).not.toHaveProperty('slow');
    expect(await recordOf('/events')).not.toHaveProperty('slow');
    expect(await recordOf('/stream/160', { accept: 'text/event-stream' })).not.toHaveProperty('slow');
    expect(test.logs.of('warn', 'SlowRequest')).toHaveLength(before);

    await recordOf('/job');
    const job = await until(() => test.sink.records.find(({ handler }) => handler === 'Nightly.run'), 'job');
    expect(job).not.toHaveProperty('slow');
    expect(job.time.otherMs).toBeGreaterThan(150);
  });

  it('has a breakdown that adds up, whatever it does', async () => {
    const random = (n: number): number => Math.floor(Math.random() * n);
    const paths = Array.from({ length: 500 }, () => {
      const parts = Array.from(
        { length: 1 + random(4) },
        () => `${names[random(names.length)]}=${random(12)}`,
      );
      return `/causes?${parts.join('&')}`;
    });
    const known = test.sink.records.length;
    const clients = Array.from({ length: 20 }, async () => {
      for (let path = paths.pop(); path !== undefined; path = paths.pop()) {
        await (await fetch(test.url + path)).text();
      }
    });
    await Promise.all(clients);
    const records = (await test.records(known + 500)).slice(known);

    for (const { time, durationMs } of records) {
      expect(Math.abs(sum(time) - durationMs)).toBeLessThanOrEqual(durationMs * 0.05);
      for (const ms of Object.values(time)) expect(ms).toBeGreaterThanOrEqual(0);
    }
  });
});

beforeAll(() => {
  redis = new Redis(redisUrl, { lazyConnect: true });
  pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 10 });
  small = isEmbedded ? pool : new Pool({ connectionString: databaseUrl(), max: 1 });
  server = createServer((request, response) => {
    setTimeout(() => response.end('ok'), Number(request.url?.slice(1)));
  }).listen(0, '127.0.0.1');
});
afterAll(async () => {
  await pool.end();
  if (!isEmbedded) await small.end();
  server.close();
  redis.disconnect();
});
