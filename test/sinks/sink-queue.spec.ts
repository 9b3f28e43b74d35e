import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CostRecord, CostRecordSink } from 'nestjs-async-context';
import { SinkQueue } from '../../lib/sinks/sink-queue';
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

const reports: string[] = [];

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
    report: (where, reason) => reports.push(`${where}: ${String(reason)}`),
    ...settings,
  });
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
      { sink: 'taken', produced: 2_048, delivered: 0, dropped: 0, queued: 2_048 },
    ]);
    offer(queue, 1);
    expect(queue.stats()).toEqual([
      { sink: 'taken', produced: 2_049, delivered: 0, dropped: 1, queued: 2_048 },
    ]);
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
    expect(queue.stats()).toEqual([{ sink: 'taken', produced: 3, delivered: 2, dropped: 1, queued: 0 }]);
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
      { sink: 'hanging', produced: 10_000, delivered: 0, dropped: 9_900, queued: 100 },
      { sink: 'throwing', produced: 10_000, delivered: 0, dropped: 10_000, queued: 0 },
      { sink: 'good', produced: 10_000, delivered: 10_000, dropped: 0, queued: 0 },
    ]);
    expect(reports).toHaveLength(1_000);
  });

  it.each([
    ['rejects with nothing', () => Promise.reject(undefined)],
    ['gives no promise', () => 5],
    [
      'gives a thenable that throws',
      () => ({
        then: () => {
          throw new Error('no');
        },
      }),
    ],
    ['changes the batch', (records: readonly CostRecord[]) => void (records as CostRecord[]).pop()],
  ])('survives a sink that %s', async (_name, write) => {
    const other = sinkOf(undefined, 'other');
    const queue = queueOf([sinkOf(write), other]);
    offer(queue, 2);
    await queue.flush();
    expect(other.batches.flat()).toHaveLength(2);
    const [stats] = queue.stats();
    expect(stats!.delivered + stats!.dropped).toBe(2);
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
      expect(queue.stats()).toEqual([{ sink: 'taken', produced: 5, delivered: 3, dropped: 2, queued: 0 }]);
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
