import { readFileSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord, SinkStats } from 'nestjs-async-context';
import { optionsOf, PATTERN, startConsumer } from '../../support/broker';
import { type Child, Programs } from '../../support/child';
import { canStart, OwnServer, SERVERS } from '../../support/own-server';
import { until } from '../../support/platforms';
import type { EndingApp, Said } from './app';

const PROGRAM = 'test/sinks/shutdown/app.ts';
const IN_FLIGHT = 500;
const QUEUED = 1_000;

interface End {
  readonly exit: number | string | null;
  readonly ms: number;
  readonly answers: readonly string[];
  readonly ready: SinkStats;
  /** Absent when a signal ended it. */
  readonly stats: SinkStats | undefined;
}

/** With `SINK_RECORDS` each way to end on each platform; else each of them once. */
const isFull = process.env['SINK_RECORDS'] !== undefined;

let programs: Programs;
let redis: OwnServer | undefined;
let consumer: Awaited<ReturnType<typeof startConsumer>> | undefined;
const hasRedis = canStart(SERVERS.redis);

beforeAll(async () => {
  programs = new Programs(PROGRAM);
  if (!hasRedis) return;
  redis = await OwnServer.start(SERVERS.redis);
  consumer = await startConsumer(optionsOf('redis', redis.port));
});
afterAll(async () => {
  programs.remove();
  await consumer?.close();
  await redis?.remove();
});

const isUrl = (said: Said): said is Said & { url: string } => 'url' in said;
const isReady = (said: Said): said is Said & { ready: SinkStats } => 'ready' in said;
const isExit = (said: Said): said is Said & { atExit: SinkStats } => 'atExit' in said;

/** Starts the program, has so many requests under way, ends it, and tells how that went. */
async function endOf(settings: Omit<EndingApp, 'inFlight' | 'queued' | 'redisPort'>): Promise<End> {
  const more = { inFlight: IN_FLIGHT, queued: QUEUED, redisPort: redis?.port };
  const child: Child<Said> = programs.start(PROGRAM, { ...settings, ...more });
  // Its clients keep their connections.
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  try {
    const { url } = await child.hears('address', isUrl);
    const answers = Promise.all(Array.from({ length: IN_FLIGHT }, () => ask(url, agent)));
    const { ready } = await child.hears('requests', isReady);
    const begin = performance.now();
    process.kill(child.pid, 'SIGTERM');
    const exit = await child.exited;
    const ms = Math.round(performance.now() - begin);
    const stats = child.said.find(isExit)?.atExit;
    if (isFull) console.log(JSON.stringify({ ...settings, exit, ms, ...stats }));
    return { exit, ms, answers: await answers, ready, stats };
  } finally {
    agent.destroy();
    await child.stop();
  }
}

function ask(url: string, agent: Agent): Promise<string> {
  return new Promise(resolve => {
    get(url, { agent }, response => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => resolve(`${response.statusCode} ${body}`));
    }).on('error', error => resolve(error.message));
  });
}

/** What is true of every end: answered, counted, in time. */
function expectOrderly({ answers, exit, ms, ready, stats }: End): void {
  expect(new Set(answers)).toEqual(new Set(['200 done']));
  expect(exit).toBe(0);
  // The promise is 5 s. Of a machine that runs other tests as well it says nothing, but that it ends.
  expect(ms).toBeLessThan(isFull ? 5_000 : 120_000);
  expect(ready).toMatchObject({ produced: QUEUED, queued: QUEUED });
  expect(stats).toMatchObject({ produced: QUEUED + IN_FLIGHT, queued: 0 });
  expect(stats!.delivered + stats!.dropped).toBe(QUEUED + IN_FLIGHT);
}

// Each starts a process, which takes seconds on a busy machine, and then mostly waits.
describe('SIGTERM with 500 requests in flight and 1,000 records queued', () => {
  type Way = readonly [
    platform: EndingApp['platform'],
    end: EndingApp['end'],
    handlerMs: number,
    isUsual: boolean,
  ];

  it.each(
    waysOf([
      ['express', 'nest', 100, true],
      ['express', 'own', 100, false],
      ['express', 'nest', 2_000, false],
      ['fastify', 'nest', 100, false],
      ['fastify', 'own', 100, true],
      ['fastify', 'nest', 2_000, false],
    ]),
  )(
    'answers all, and writes all records, on %s, ended by %s, with handlers of %i ms',
    async (platform, end, handlerMs) => {
      const path = join(tmpdir(), `nac-shutdown-${process.pid}-${platform}-${end}-${handlerMs}.ndjson`);
      const ending = await endOf({ platform, end, handlerMs, sink: 'file', path });
      const written = readFileSync(path, 'utf8')
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line) as CostRecord);
      rmSync(path);
      expectOrderly(ending);
      expect(ending.stats!.delivered).toBe(QUEUED + IN_FLIGHT);
      expect(new Set(written.map(({ requestId }) => requestId)).size).toBe(QUEUED + IN_FLIGHT);
      const ofRequests = written.filter(({ handler, status }) => handler === 'Work.work' && status === 200);
      expect(ofRequests).toHaveLength(IN_FLIGHT);
    },
  );

  for (const sink of ['hangs', 'down'] as const) {
    it.each(
      waysOf([
        ['express', 'nest', 100, false],
        ['express', 'nest', 2_000, sink === 'hangs'],
        ['express', 'own', 100, false],
        ['fastify', 'nest', 100, false],
        ['fastify', 'nest', 2_000, false],
        ['fastify', 'own', 100, sink === 'down'],
      ]),
    )(
      `drops what a sink that ${sink} does not take, on %s, ended by %s, with handlers of %i ms`,
      async (platform, end, handlerMs) => {
        const ending = await endOf({ platform, end, handlerMs, sink, path: 'nobody' });
        expectOrderly(ending);
        expect(ending.stats!.dropped).toBe(QUEUED + IN_FLIGHT);
      },
    );
  }

  it.runIf(hasRedis)('sends all records to a broker, also when a signal ends the process', async () => {
    for (const end of isFull ? (['nest-kill', 'nest', 'own'] as const) : (['own'] as const)) {
      consumer!.times.clear();
      const ending = await endOf({ platform: 'fastify', end, handlerMs: 100, sink: 'redis', path: PATTERN });
      if (end === 'nest-kill') expect(ending.exit).toBe('SIGTERM');
      else expectOrderly(ending);
      await until(() => consumer!.count === QUEUED + IN_FLIGHT, 'records');
      expect(consumer!.duplicates).toBe(0);
    }
  });

  function waysOf(ways: readonly Way[]): Way[] {
    return ways.filter(([, , , isUsual]) => isUsual || isFull);
  }
});
