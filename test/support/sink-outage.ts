import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Controller, Get } from '@nestjs/common';
import {
  AsyncContextModule,
  type CostRecordSink,
  type SinkQueueOptions,
  type SinkStats,
  ProcessFigures,
} from 'nestjs-async-context';
import { type Answers, PacedLoad } from './paced-load';
import { type Platform, startApp } from './platforms';

export interface SinkOutage {
  /** The sink under test; it is closed with its application. */
  readonly sink: CostRecordSink;
  /** Takes away what the sink writes to; called when a third of the records is delivered. */
  readonly stop: () => unknown;
  /** Gives it back. */
  readonly start: () => unknown;
  readonly platform?: Platform;
  /**
   * Requests, one record each: a third before the outage, a third in it, a third after it.
   * @default SINK_RECORDS, else 3,000
   */
  readonly records?: number;
  /** @default SINK_OUTAGE_MS, else 1,500 */
  readonly outageMs?: number;
  /** @default quick ones; those of the library when SINK_OUTAGE_MS is given */
  readonly sinkQueue?: SinkQueueOptions;
}

export interface OutageResult {
  /** What became of the records, after the application was closed. */
  readonly stats: SinkStats;
  /** The same, at the end of the outage. */
  readonly inOutage: SinkStats;
  readonly answers: Readonly<Record<'before' | 'during' | 'after', Answers>>;
  /** In use after a garbage collection, in MB. */
  readonly heapMb: Readonly<Record<'before' | 'during' | 'after', number>>;
  /** Milliseconds from the end of the outage until all that was kept was delivered. */
  readonly caughtUpMs: number;
  /** Warnings of the library. */
  readonly warnings: readonly string[];
}

const given = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const isFullScale = process.env['SINK_OUTAGE_MS'] !== undefined;

/** For the test: far more than it takes on two quiet cores. */
export const OUTAGE_TEST_MS = 300_000 + 2 * given('SINK_OUTAGE_MS', 1_500) + 2 * given('SINK_RECORDS', 3_000);

@Controller()
class Items {
  @Get('items/:id')
  get(): string {
    return 'ok';
  }
}

/**
 * Serves requests with a sink whose server goes away for a time and comes back.
 *
 * @example
 * const { stats } = await runOutage({ sink, stop: () => server.stop(), start: () => server.start() });
 * expect(stats.produced).toBe(stats.delivered + stats.dropped);
 */
export async function runOutage({
  sink,
  stop,
  start,
  platform = 'express',
  records = given('SINK_RECORDS', 3_000),
  outageMs = given('SINK_OUTAGE_MS', 1_500),
  sinkQueue = isFullScale ? {} : { intervalMs: 50, retryDelayMs: 50, maxRetryDelayMs: 200 },
}: SinkOutage): Promise<OutageResult> {
  const module = AsyncContextModule.forRoot({ sinks: [sink], sinkQueue });
  const test = await startApp({ platform, controllers: [Items], module });
  const load = new PacedLoad();
  const figures = test.app.get(ProcessFigures);
  const statsNow = (): SinkStats => figures.sinkStats[0]!;
  const third = Math.floor(records / 3);
  const url = `${test.url}/items/1`;
  try {
    const before = await load.send(url, third);
    await emptied(statsNow);
    const heapBefore = heapMb();
    await stop();
    const during = await load.send(url, third, outageMs);
    const inOutage = statsNow();
    const heapDuring = heapMb();
    const startedAt = performance.now();
    await start();
    await emptied(statsNow);
    const caughtUpMs = Math.round(performance.now() - startedAt);
    const after = await load.send(url, records - 2 * third);
    await emptied(statsNow);
    const heapAfter = heapMb();
    await test.close();
    return {
      stats: statsNow(),
      inOutage,
      answers: { before, during, after },
      heapMb: { before: heapBefore, during: heapDuring, after: heapAfter },
      caughtUpMs,
      warnings: test.logs.of('warn', 'AsyncContext'),
    };
  } finally {
    await load.close();
    await test.close();
  }
}

/** Fails after 4 minutes, longer than the longest pause of a queue. */
async function emptied(stats: () => SinkStats): Promise<void> {
  const end = Date.now() + 240_000;
  while (stats().queued > 0) {
    if (Date.now() > end) throw new Error(`not delivered within 4 minutes: ${JSON.stringify(stats())}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

function heapMb(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return Math.round(process.memoryUsage().heapUsed / 10_485.76) / 100;
}
