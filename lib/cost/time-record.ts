import { describeCallSite } from '../kernel/call-site';
import { isOfOthers, type LoopBlock } from './event-loop';
import { type TimeAccount, WAITS } from './time-account';

/** Stalls that a record names, the longest first. */
const MAX_STALLS = 5;

/**
 * Where the wall time of a unit of work went, in milliseconds. Each moment is counted only once, so the parts add up
 * to `durationMs`.
 */
export interface TimeRecord {
  /** At least one query was running. */
  readonly databaseMs: number;
  /** It waited for a pool connection, and no query was running. */
  readonly poolMs: number;
  /** It waited for other services, and for none of the above. */
  readonly httpMs: number;
  /** It waited for a cache, and for none of the above. */
  readonly cacheMs: number;
  /** It waited for a broker, and for none of the above. */
  readonly messagesMs: number;
  /** It waited for a `@Concurrency()` slot, and for none of the above. */
  readonly slotMs: number;
  /** Its own code ran. */
  readonly ownMs: number;
  /** Other work blocked the event loop, for 50 ms or longer at a time. */
  readonly stalledMs: number;
  /** Something blocked the event loop for 50 ms or longer at a time, and the cause is unknown. */
  readonly unknownMs: number;
  /** Other processes used the CPU, for 50 ms or longer at a time; always 0 except on Linux. */
  readonly starvedMs: number;
  /** The rest: timers, files, request bodies, clients that are not counted, waiting in the event loop. */
  readonly otherMs: number;
}

/** One part of the time of a unit of work. */
export type TimePart =
  | 'database'
  | 'pool'
  | 'http'
  | 'cache'
  | 'messages'
  | 'slot'
  | 'own'
  | 'stalled'
  | 'unknown'
  | 'starved'
  | 'other';

/** A block of the event loop, 50 ms or longer, by another unit of work. */
export interface StallRecord {
  /** Duration in milliseconds. */
  readonly ms: number;
  /** Handler that caused it, such as `ReportsController.export`; absent if unknown. */
  readonly handler?: string;
  /** Id of its unit of work. */
  readonly requestId?: string;
  /** The line that was running (`reports.service.ts:47 render`), if the watchdog has captured it. */
  readonly at?: string;
}

/** Why a unit of work was slow. */
export interface SlowRecord {
  /** The largest part of its time. */
  readonly because: TimePart;
  /** Duration of that part in milliseconds. */
  readonly ms: number;
  /** The causes, as far as they are known: a shape, a host, a handler, a line; at most 5. */
  readonly culprits: readonly string[];
}

/** Microseconds are what `performance.now()` can tell. */
export function roundMs(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}

/** The parts of an account, frozen. */
export function recordTime(time: TimeAccount): TimeRecord {
  const [databaseMs, poolMs, httpMs, cacheMs, messagesMs, slotMs] = WAITS.map(wait =>
    roundMs(time.waitedMs(wait)),
  );
  return Object.freeze({
    databaseMs: databaseMs!,
    poolMs: poolMs!,
    httpMs: httpMs!,
    cacheMs: cacheMs!,
    messagesMs: messagesMs!,
    slotMs: slotMs!,
    ownMs: roundMs(time.ownMs),
    stalledMs: roundMs(time.stalledMs),
    unknownMs: roundMs(time.unknownMs),
    starvedMs: roundMs(time.starvedMs),
    otherMs: roundMs(time.otherMs),
  });
}

/** The largest part, without a record: it is asked of each slow request. */
export function longestPart(time: TimeAccount): TimePart {
  let longest: TimePart = 'own';
  let longestMs = time.ownMs;
  for (const wait of WAITS) {
    const ms = time.waitedMs(wait);
    if (ms > longestMs) [longest, longestMs] = [wait, ms];
  }
  if (time.stalledMs > longestMs) [longest, longestMs] = ['stalled', time.stalledMs];
  if (time.unknownMs > longestMs) [longest, longestMs] = ['unknown', time.unknownMs];
  if (time.starvedMs > longestMs) [longest, longestMs] = ['starved', time.starvedMs];
  return time.otherMs > longestMs ? 'other' : longest;
}

/** The parts, the largest first. */
export function partsOf(time: TimeRecord): [part: TimePart, ms: number][] {
  return Object.entries(time)
    .map(([name, ms]): [TimePart, number] => [name.slice(0, -'Ms'.length) as TimePart, ms as number])
    .sort(([, a], [, b]) => b - a);
}

/** What others did to a unit of work, the longest first. */
export function recordStalls(time: TimeAccount, blocks: readonly LoopBlock[]): readonly StallRecord[] {
  return Object.freeze(
    blocks
      .filter(block => isOfOthers(block, time.number))
      .sort((a, b) => b.ms - a.ms)
      .slice(0, MAX_STALLS)
      .map(block => {
        const { culprit } = block;
        const at = siteOf(block);
        return Object.freeze({
          ms: roundMs(block.ms),
          ...(culprit?.handler !== undefined && { handler: culprit.handler }),
          ...(culprit !== undefined && { requestId: culprit.requestId }),
          ...(at !== undefined && { at }),
        });
      }),
  );
}

// A stall is named in the records of all that have waited.
const sites = new WeakMap<LoopBlock, string>();

/** What the application was at while it blocked the loop. */
export function siteOf(block: LoopBlock): string | undefined {
  const [site] = block.sites ?? [];
  if (site === undefined) return undefined;
  if (!sites.has(block)) sites.set(block, describeCallSite(site));
  return sites.get(block);
}
