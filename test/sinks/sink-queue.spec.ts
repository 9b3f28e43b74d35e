import { AsyncLocalStorage } from 'node:async_hooks';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CostRecord, CostRecordSink } from 'nestjs-async-context';
import { HookErrorReporter } from '../../lib/reporting/hook-error-reporter';
import { SINK_QUEUE_DEFAULTS, SinkQueue } from '../../lib/sinks/sink-queue';
import { recordOf } from '../support/records';

interface Taken extends CostRecordSink {
  readonly batches: (readonly CostRecord[])[];
}

function sinkOf(write: (records: readonly CostRecord[]) => unknown = () => undefined, name = 'taken'): Taken {
  const batches: (readonly CostRecord[])[] = [];
  return {
    name,
    batches,
    write(records) {
      batches.push(records);
      return write(records) as Promise<void>;
    },
  };
}

// The time to close is real time, which these tests fake all the same.
vi.mock('../../lib/kernel/real-timers', () => ({
  setTimeout: (fn: () => void, ms: number) => globalThis.setTimeout(fn, ms),
  clearTimeout: (timer: NodeJS.Timeout) => globalThis.clearTimeout(timer),
}));

const reports: string[] = [];
const note = (where: string, what: unknown): void => void reports.push(`${where}: ${String(what)}`);
const hookErrors = { report: note, say: note };

function queueOf(
  sinks: CostRecordSink[],
  settings: {
    capacity?: number;
    batchSize?: number;
    intervalMs?: number;
    toRecord?: (id: number) => CostRecord;
  } = {},
) {
  return new SinkQueue<number>({
    sinks,
    toRecord: id => recordOf(String(id)),
    hookErrors,
    ...settings,
  });
}

function fail(): never {
  throw new Error('no');
}

function rejectTwice(_resolve: unknown, reject: (reason: unknown) => void): void {
  reject(new Error('no'));
  reject(new Error('again'));
}

function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

function offer(queue: SinkQueue<number>, count: number): void {
  for (let i = 0; i < count; i++) queue.offer(i);
}

describe('SinkQueue', () => {
  beforeEach(() => {
    reports.length = 0;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate'] });
  });
  afterEach(() => vi.useRealTimers());

  it('accepts 2,048 records, drops the 2,049th, and counts it', () => {
    const queue = queueOf([sinkOf()]);
    offer(queue, 2_048);
    expect(queue.stats()).toEqual([
      { sink: 'taken', produced: 2_048, delivered: 0, dropped: 0, queued: 2_048, sampledOut: 0 },
    ]);
    offer(queue, 1);
    expect(queue.stats()).toEqual([
      { sink: 'taken', produced: 2_049, delivered: 0, dropped: 1, queued: 2_048, sampledOut: 0 },
    ]);
  });

  it('keeps its bounds when an option is given as undefined', async () => {
    const sink = sinkOf();
    const options: object = { capacity: undefined, batchSize: undefined, intervalMs: undefined };
    const queue = queueOf([sink], options);
    offer(queue, 2_049);
    expect(queue.stats()[0]).toMatchObject({ queued: 2_048, dropped: 1 });
    await queue.flush();
    expect(sink.batches.map(batch => batch.length)).toEqual([512, 512, 512, 512]);
    const another = queueOf([sinkOf()], options);
    offer(another, 1);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(another.stats()[0]!.queued).toBe(1);
    expect(Object.isFrozen(SINK_QUEUE_DEFAULTS)).toBe(true);
  });

  it('writes 511 records after five seconds, not before', async () => {
    const sink = sinkOf();
    const queue = queueOf([sink]);
    offer(queue, 511);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(sink.batches).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(sink.batches.map(batch => batch.length)).toEqual([511]);
  });

  it('writes 512 at once, but not inside of offer()', async () => {
    const sink = sinkOf();
    const queue = queueOf([sink]);
    offer(queue, 512);
    expect(sink.batches).toEqual([]);
    await vi.advanceTimersByTimeAsync(0);
    expect(sink.batches.map(batch => batch.length)).toEqual([512]);
  });

  it('writes batches of 512, in order, one after the other', async () => {
    const done: (() => void)[] = [];
    const sink = sinkOf(() => new Promise<void>(resolve => done.push(resolve)));
    const queue = queueOf([sink]);
    offer(queue, 1_300);
    await vi.advanceTimersByTimeAsync(0);
    expect(sink.batches.map(batch => batch.length)).toEqual([512]);
    done[0]!();
    await vi.advanceTimersByTimeAsync(0);
    done[1]!();
    await vi.advanceTimersByTimeAsync(0);
    expect(sink.batches.map(batch => batch.length)).toEqual([512, 512, 276]);
    expect(sink.batches.flat().map(({ requestId }) => Number(requestId))).toEqual(
      Array.from({ length: 1_300 }, (_, i) => i),
    );
  });

  it('makes a record when it is written, not when it is offered', async () => {
    let late = 0;
    const sink = sinkOf();
    const queue = queueOf([sink], { toRecord: id => recordOf(String(id), { late }) });
    offer(queue, 1);
    late = 3;
    await queue.flush();
    expect(sink.batches[0]![0]!.queries.late).toBe(3);
  });

  it('keeps no timer and no record without sinks', () => {
    const queue = queueOf([]);
    offer(queue, 5);
    expect(vi.getTimerCount()).toBe(0);
    expect(queue.stats()).toEqual([]);
  });

  it('drops a record that cannot be made', async () => {
    const sink = sinkOf();
    const queue = queueOf([sink], {
      toRecord: id => {
        if (id === 1) throw new Error('broken');
        return recordOf(String(id));
      },
    });
    offer(queue, 3);
    await queue.flush();
    expect(queue.stats()).toEqual([
      { sink: 'taken', produced: 3, delivered: 2, dropped: 1, queued: 0, sampledOut: 0 },
    ]);
    expect(reports).toEqual(['making a cost record: Error: broken']);
  });

  it('lets one sink fail without the others', async () => {
    const good = sinkOf(undefined, 'good');
    const hanging = sinkOf(() => new Promise(() => undefined), 'hanging');
    const throwing = sinkOf(() => {
      throw new Error('no');
    }, 'throwing');
    const queue = queueOf([hanging, throwing, good], { capacity: 100, batchSize: 10 });
    for (let round = 0; round < 1_000; round++) {
      offer(queue, 10);
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(queue.stats()).toEqual([
      { sink: 'hanging', produced: 10_000, delivered: 0, dropped: 9_900, queued: 100, sampledOut: 0 },
      { sink: 'throwing', produced: 10_000, delivered: 0, dropped: 9_900, queued: 100, sampledOut: 0 },
      { sink: 'good', produced: 10_000, delivered: 10_000, dropped: 0, queued: 0, sampledOut: 0 },
    ]);
    expect(new Set(reports.map(report => report.split(':')[0]))).toEqual(
      new Set(['sink throwing', 'queue of sink hanging', 'queue of sink throwing']),
    );
  });

  describe.each<[string, (records: readonly CostRecord[]) => unknown, number]>([
    ['does its work', () => undefined, 10_000],
    ['gives no promise', () => 5, 10_000],
    ['blocks', () => busy(2), 10_000],
    ['throws', () => fail(), 0],
    ['rejects', () => Promise.reject(new Error('no')), 0],
    ['rejects with nothing', () => Promise.reject(undefined), 0],
    ['hangs', () => new Promise(() => undefined), 0],
    ['gives a thenable that throws', () => ({ then: fail }), 0],
    ['gives a thenable that rejects twice', () => ({ then: rejectTwice }), 0],
    ['gives a thenable that hangs', () => ({ then: () => undefined }), 0],
    ['changes the batch', records => void (records as CostRecord[]).pop(), 0],
  ])('with a sink that %s', (_name, write, delivered) => {
    it('accounts for each of 10,000 records, and delivers all to the other sink', async () => {
      const other = sinkOf(undefined, 'other');
      const queue = queueOf([sinkOf(write), other]);
      for (let round = 1; round <= 20; round++) {
        offer(queue, 500);
        await vi.advanceTimersByTimeAsync(5_000);
        for (const stats of queue.stats()) {
          expect(stats.produced).toBe(round * 500);
          expect(stats.produced).toBe(stats.delivered + stats.dropped + stats.queued);
          expect(stats.queued).toBeLessThanOrEqual(2_048);
        }
      }
      void queue.close();
      await vi.advanceTimersByTimeAsync(5_000);
      expect(queue.stats()).toEqual([
        { sink: 'taken', produced: 10_000, delivered, dropped: 10_000 - delivered, queued: 0, sampledOut: 0 },
        { sink: 'other', produced: 10_000, delivered: 10_000, dropped: 0, queued: 0, sampledOut: 0 },
      ]);
      expect(other.batches.flat()).toHaveLength(10_000);
    });
  });

  it('says once a minute for each sink that it fails, and how often it did', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] });
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const queue = new SinkQueue<number>({
      sinks: [sinkOf(fail, 'first'), sinkOf(() => Promise.reject(undefined), 'second')],
      retryForMs: 0,
      toRecord: id => recordOf(String(id)),
      hookErrors: new HookErrorReporter(),
    });
    // A batch every 5 s: the 1st and the 13th are said, eleven between them are not.
    for (let batch = 0; batch < 13; batch++) {
      offer(queue, 1);
      await vi.advanceTimersByTimeAsync(5_000);
    }
    expect(String(warn.mock.calls[0]?.[0])).toContain(
      '\n  records 1 not written yet, 0 lost so far; no request has failed\n' +
        '  fix     correct what the error names (forRoot({ errorMessages: true }) logs its message); a batch is tried again for 0 s, and at most 2,048 records wait',
    );
    expect(warn.mock.calls.map(([text]) => String(text).split('\n')[0])).toEqual([
      expect.stringMatching(/^sink first failed and was ignored: Error at sink-queue\.spec\.ts:\d+ fail$/),
      'sink second failed and was ignored: undefined',
      '22 reports suppressed in the last minute: 22 hook errors (11 of them sink first)',
      expect.stringContaining('sink first failed'),
      'sink second failed and was ignored: undefined (11 more since the last one)',
    ]);
    warn.mockRestore();
  });

  it('drops a record that is too large to be bounded, and writes the others', async () => {
    const sink = sinkOf();
    const queue = queueOf([sink], {
      toRecord: id => recordOf(String(id), {}, id === 1 ? { error: 'E'.repeat(70_000) } : {}),
    });
    offer(queue, 3);
    await queue.flush();
    expect(queue.stats()).toEqual([
      { sink: 'taken', produced: 3, delivered: 2, dropped: 1, queued: 0, sampledOut: 0 },
    ]);
    expect(reports).toEqual([expect.stringContaining('making a cost record: RangeError')]);
  });

  it('calls sinks outside of the request that offered the record', async () => {
    const storage = new AsyncLocalStorage<string>();
    const stores: unknown[] = [];
    const queue = queueOf([sinkOf(() => void stores.push(storage.getStore()))], { batchSize: 2 });
    storage.run('request', () => offer(queue, 1));
    await vi.advanceTimersByTimeAsync(5_000);
    storage.run('request', () => offer(queue, 2));
    await vi.advanceTimersByTimeAsync(0);
    await storage.run('request', () => {
      offer(queue, 1);
      return queue.flush();
    });
    expect(stores).toEqual([undefined, undefined, undefined]);
  });

  describe('close()', () => {
    it('writes what waits, closes each sink once, and drops what comes later', async () => {
      const close = vi.fn();
      const sink = Object.assign(sinkOf(), { close });
      const queue = queueOf([sink]);
      offer(queue, 3);
      await Promise.all([queue.close(), queue.close()]);
      expect(sink.batches.flat()).toHaveLength(3);
      expect(close).toHaveBeenCalledTimes(1);
      offer(queue, 2);
      expect(queue.stats()).toEqual([
        { sink: 'taken', produced: 5, delivered: 3, dropped: 2, queued: 0, sampledOut: 0 },
      ]);
      expect(vi.getTimerCount()).toBe(0);
    });

    it.each<[string, Pick<CostRecordSink, 'write' | 'close'>, number]>([
      ['write()', { write: () => new Promise<void>(() => undefined) }, 4_000],
      ['close()', { write: () => undefined, close: () => new Promise<void>(() => undefined) }, 1_000],
    ])('waits no longer than it says for a %s that hangs', async (_name, parts, ms) => {
      const queue = queueOf([{ name: 'hanging', ...parts }]);
      offer(queue, 3);
      let isClosed = false;
      void queue.close().then(() => {
        isClosed = true;
      });
      await vi.advanceTimersByTimeAsync(ms - 1);
      expect(isClosed).toBe(false);
      await vi.advanceTimersByTimeAsync(1);
      expect(isClosed).toBe(true);
      const [stats] = queue.stats();
      expect(stats!.produced).toBe(stats!.delivered + stats!.dropped);
      expect(stats!.queued).toBe(0);
    });

    it('calls close() of a sink outside of the request that closes', async () => {
      const storage = new AsyncLocalStorage<string>();
      const stores: unknown[] = [];
      const close = (): void => void stores.push(storage.getStore());
      const slow = sinkOf(() => Promise.resolve());
      const queue = queueOf([
        { name: 'quick', write: () => undefined, close },
        { ...slow, close },
      ]);
      offer(queue, 1);
      await storage.run('request', () => queue.close());
      expect(stores).toEqual([undefined, undefined]);
    });

    it('closes the other sinks at once while one hangs', async () => {
      const close = vi.fn();
      const hanging = sinkOf(() => new Promise(() => undefined), 'hanging');
      const queue = queueOf([hanging, Object.assign(sinkOf(), { close })]);
      offer(queue, 1);
      void queue.close();
      await vi.advanceTimersByTimeAsync(0);
      expect(close).toHaveBeenCalledTimes(1);
    });

    it.each([
      [undefined, 5_000],
      [1_000, 1_000],
    ])('given %s ms, waits %i ms for a sink that hangs in all it does', async (timeoutMs, ms) => {
      const hang = (): Promise<void> => new Promise(() => undefined);
      const queue = queueOf([{ name: 'hanging', write: hang, close: hang }]);
      offer(queue, 3);
      const isClosed = vi.fn();
      void queue.close(timeoutMs).then(isClosed);
      await vi.advanceTimersByTimeAsync(ms - 1);
      expect(isClosed).not.toHaveBeenCalled();
      await vi.advanceTimersByTimeAsync(1);
      expect(isClosed).toHaveBeenCalledTimes(1);
      expect(queue.stats()).toEqual([
        { sink: 'hanging', produced: 3, delivered: 0, dropped: 3, queued: 0, sampledOut: 0 },
      ]);
    });

    it('counts a batch once that a sink takes or refuses after the time is up', async () => {
      const settle: ((value: void | Promise<void>) => void)[] = [];
      const slow = (): Promise<void> => new Promise(resolve => settle.push(resolve));
      const queue = queueOf([sinkOf(slow, 'late'), sinkOf(slow, 'later')]);
      offer(queue, 2);
      void queue.close();
      await vi.advanceTimersByTimeAsync(5_000);
      settle[0]!();
      settle[1]!(Promise.reject(new Error('no')));
      await vi.advanceTimersByTimeAsync(0);
      expect(queue.stats()).toEqual([
        { sink: 'late', produced: 2, delivered: 0, dropped: 2, queued: 0, sampledOut: 0 },
        { sink: 'later', produced: 2, delivered: 0, dropped: 2, queued: 0, sampledOut: 0 },
      ]);
    });

    it('survives a close() that throws', async () => {
      const queue = queueOf([
        {
          name: 'bad',
          write: () => undefined,
          close: () => {
            throw new Error('no');
          },
        },
      ]);
      await expect(queue.close()).resolves.toBeUndefined();
      expect(reports).toEqual(['sink bad, close(): Error: no']);
    });
  });
});
