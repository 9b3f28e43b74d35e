import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CostRecord, CostRecordSink } from 'nestjs-async-context';
import { SinkQueue } from '../../lib/sinks/sink-queue';
import { recordOf } from '../support/records';

type Write = (records: readonly CostRecord[]) => unknown;

const reports: string[] = [];
const note = (where: string, what: unknown): void => void reports.push(`${where}: ${String(what)}`);
const hookErrors = { report: note, say: note };

/** A queue in front of one sink, whose tries are answered by `writes`, the last of them for good. */
function queueOf(
  writes: readonly Write[],
  settings: Partial<ConstructorParameters<typeof SinkQueue<number>>[0]> = {},
  sink: Partial<CostRecordSink> = {},
) {
  const tries: { ids: number[]; atMs: number }[] = [];
  const queue = new SinkQueue<number>({
    sinks: [
      {
        name: 'tried',
        write(records) {
          tries.push({ ids: records.map(({ requestId }) => Number(requestId)), atMs: performance.now() });
          const write = writes[Math.min(tries.length, writes.length) - 1]!;
          return write(records) as Promise<void>;
        },
        ...sink,
      },
    ],
    toRecord: id => recordOf(String(id)),
    hookErrors,
    ...settings,
  });
  const offer = (from: number, count: number): void => {
    for (let id = from; id < from + count; id++) queue.offer(id);
  };
  return { queue, tries, offer, stats: () => queue.stats()[0]! };
}

function fail(failure: object = {}): never {
  throw Object.assign(new Error('no'), failure);
}

const take = (): void => undefined;
const numbers = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

describe('a batch that a sink refuses', () => {
  beforeEach(() => {
    reports.length = 0;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] });
    vi.spyOn(Math, 'random').mockReturnValue(0);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  it('is offered again after 0.5, 1, 2, 4, 8, 10 and 10 seconds, and taken', async () => {
    const failing = Array.from({ length: 7 }, () => () => fail());
    const { queue, tries, offer, stats } = queueOf([...failing, take]);
    offer(0, 3);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(60_000);
    const pauses = tries.slice(1).map(({ atMs }, i) => atMs - tries[i]!.atMs);
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    expect(new Set(tries.map(({ ids }) => ids.join()))).toEqual(new Set(['0,1,2']));
    expect(stats()).toMatchObject({ produced: 3, delivered: 3, dropped: 0, queued: 0 });
  });

  it('waits for no less than half of the pause, by chance', async () => {
    vi.mocked(Math.random).mockReturnValue(0.999_999);
    const { queue, tries, offer } = queueOf([() => fail(), take]);
    offer(0, 1);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(249);
    expect(tries).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2);
    expect(tries).toHaveLength(2);
  });

  it('begins with the short pause again once the sink has taken something', async () => {
    const { queue, tries, offer } = queueOf([() => fail(), () => fail(), take, () => fail(), take], {
      batchSize: 1,
    });
    offer(0, 2);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(tries.map(({ atMs }) => atMs - tries[0]!.atMs)).toEqual([0, 500, 1_500, 1_500, 2_000]);
  });

  it('keeps its place within the capacity: the newest are lost, counted and reported', async () => {
    let isDown = true;
    const { queue, offer, stats, tries } = queueOf([() => (isDown ? fail() : undefined)], {
      capacity: 100,
      batchSize: 10,
    });
    for (let round = 0; round < 50; round++) {
      offer(round * 10, 10);
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(stats()).toMatchObject({ produced: 500, delivered: 0, dropped: 400, queued: 100 });
    expect(reports).toContain('queue of sink tried: it is full, 400 records lost so far');
    isDown = false;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(stats()).toMatchObject({ produced: 500, delivered: 100, dropped: 400, queued: 0 });
    expect(
      tries
        .slice(-10)
        .map(({ ids }) => ids)
        .flat(),
    ).toEqual(numbers(0, 100));
    offer(500, 10);
    await queue.flush();
    expect(stats()).toMatchObject({ produced: 510, delivered: 110 });
  });

  it('makes no record for which no sink has room', async () => {
    const toRecord = vi.fn((id: number) => recordOf(String(id)));
    const { offer, stats } = queueOf([() => fail()], { capacity: 20, batchSize: 10, toRecord });
    for (let round = 0; round < 10; round++) {
      offer(round * 10, 10);
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(stats()).toMatchObject({ produced: 100, dropped: 80, queued: 20 });
    expect(toRecord).toHaveBeenCalledTimes(20);
  });

  it('is dropped after five minutes, and not before, so that the next one has its turn', async () => {
    const { queue, tries, offer, stats } = queueOf(
      [records => (records[0]!.requestId === '0' ? fail() : undefined)],
      { batchSize: 2 },
    );
    offer(0, 4);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(299_000);
    expect(stats()).toMatchObject({ dropped: 0, queued: 4 });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(stats()).toMatchObject({ delivered: 2, dropped: 2, queued: 0 });
    expect(tries.at(-1)!.ids).toEqual([2, 3]);
  });

  it.each([
    [0, 1],
    [1, 2],
  ])('with retryForMs: %i is offered %i times', async (retryForMs, times) => {
    const { queue, tries, offer, stats } = queueOf([() => fail()], { retryForMs });
    offer(0, 3);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(tries).toHaveLength(times);
    expect(stats()).toMatchObject({ produced: 3, dropped: 3, queued: 0 });
  });

  it('is dropped at once when the sink says that it would refuse it again', async () => {
    const { queue, tries, offer, stats } = queueOf([() => fail({ retryable: false }), take], {
      batchSize: 2,
    });
    offer(0, 4);
    await queue.flush();
    expect(tries.map(({ ids }) => ids)).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(stats()).toMatchObject({ delivered: 2, dropped: 2, queued: 0 });
  });

  it('is offered again without the records that the sink has taken', async () => {
    const { queue, tries, offer, stats } = queueOf([() => fail({ delivered: 3 }), take]);
    offer(0, 5);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(500);
    expect(tries.map(({ ids }) => ids)).toEqual([numbers(0, 5), [3, 4]]);
    expect(stats()).toMatchObject({ delivered: 5, dropped: 0, queued: 0 });
  });

  it('is offered again without the records that the sink has refused for good', async () => {
    const { queue, tries, offer, stats } = queueOf([() => fail({ delivered: 1, rejected: 2 }), take]);
    offer(0, 5);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(500);
    expect(tries.map(({ ids }) => ids)).toEqual([numbers(0, 5), [3, 4]]);
    expect(stats()).toMatchObject({ produced: 5, delivered: 3, dropped: 2, queued: 0 });
  });

  it('is not offered again when each of its records was taken or refused', async () => {
    const { queue, tries, offer, stats } = queueOf([() => fail({ delivered: 3, rejected: 2 }), take]);
    offer(0, 5);
    await queue.flush();
    expect(tries).toHaveLength(1);
    expect(stats()).toMatchObject({ produced: 5, delivered: 3, dropped: 2, queued: 0 });
  });

  it.each([
    [{ retryable: false, delivered: 3 }, 3],
    [{ retryable: false, delivered: 4, rejected: 7 }, 4],
    [{ retryable: false, rejected: 9 }, 0],
    [{ retryable: false, delivered: 5 }, 5],
    [{ retryable: false, delivered: 6 }, 5],
    [{ retryable: false, delivered: -1 }, 0],
    [{ retryable: false, delivered: 1.5 }, 0],
    [{ retryable: false, delivered: '3' }, 0],
  ])('that fails with %j counts %i of 5 as delivered', async (failure, delivered) => {
    const { queue, offer, stats } = queueOf([() => fail(failure)]);
    offer(0, 5);
    await queue.flush();
    expect(stats()).toMatchObject({ produced: 5, delivered, dropped: 5 - delivered, queued: 0 });
  });

  it('is offered again whatever the sink throws', async () => {
    const trap = new Proxy({}, { get: () => fail() });
    const things: unknown[] = [undefined, null, 5, 'no', trap];
    const writes = things.map(thing => () => {
      throw thing;
    });
    const { queue, tries, offer, stats } = queueOf([...writes, take], {
      hookErrors: { report: () => undefined, say: () => undefined },
    });
    offer(0, 1);
    void queue.flush();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(tries).toHaveLength(6);
    expect(stats()).toMatchObject({ delivered: 1, queued: 0 });
  });

  it('keeps no process alive', async () => {
    vi.useRealTimers();
    vi.mocked(Math.random).mockRestore();
    const timers = vi.spyOn(globalThis, 'setTimeout');
    const { queue, offer } = queueOf([() => fail()]);
    offer(0, 1);
    void queue.flush();
    await new Promise(resolve => setImmediate(resolve));
    expect(timers.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([
      false,
      false,
    ]);
    await queue.close(10);
  });

  describe('when the application closes', () => {
    it('is offered at once, with all that waits, however long the pause was', async () => {
      let isDown = true;
      const { queue, offer, stats } = queueOf([() => (isDown ? fail() : undefined)]);
      offer(0, 3);
      void queue.flush();
      await vi.advanceTimersByTimeAsync(30_000);
      isDown = false;
      offer(3, 2);
      await queue.close();
      expect(stats()).toMatchObject({ produced: 5, delivered: 5, dropped: 0, queued: 0 });
      expect(vi.getTimerCount()).toBe(0);
    });

    it('is offered three times in 1.5 seconds, then dropped with the rest', async () => {
      const { queue, tries, offer, stats } = queueOf([() => fail()], { batchSize: 2 });
      offer(0, 4);
      const closed = vi.fn();
      void queue.close().then(closed);
      await vi.advanceTimersByTimeAsync(1_499);
      expect(tries).toHaveLength(2);
      expect(closed).not.toHaveBeenCalled();
      await vi.advanceTimersByTimeAsync(1);
      await vi.advanceTimersByTimeAsync(0);
      expect(closed).toHaveBeenCalled();
      expect(stats()).toMatchObject({ produced: 4, delivered: 0, dropped: 4, queued: 0 });
    });
  });
});

describe('a sink that gets every record', () => {
  const sampled = { weigh: (id: number) => (id % 10 === 0 ? 10 : 0) };

  function queueOfBoth(settings: object = {}, every: Write = take) {
    const seen: Record<'every' | 'ordinary', CostRecord[]> = { every: [], ordinary: [] };
    const queue = new SinkQueue<number>({
      sinks: [
        {
          name: 'ordinary',
          write: records => void seen.ordinary.push(...records),
        },
        {
          name: 'every',
          everyRecord: true,
          write(records) {
            const result = every(records) as Promise<void>;
            seen.every.push(...records);
            return result;
          },
        },
      ],
      toRecord: id => recordOf(String(id)),
      hookErrors,
      ...settings,
    });
    return { queue, seen };
  }

  beforeEach(() => {
    reports.length = 0;
  });

  it('gets those that sampling leaves out, without a weight', async () => {
    const { queue, seen } = queueOfBoth(sampled);
    for (let id = 0; id < 100; id++) queue.offer(id);
    expect(queue.stats()).toEqual([
      { sink: 'ordinary', produced: 10, delivered: 0, dropped: 0, queued: 10, sampledOut: 90 },
      { sink: 'every', produced: 100, delivered: 0, dropped: 0, queued: 100, sampledOut: 0 },
    ]);
    await queue.flush();
    expect(seen.every).toHaveLength(100);
    expect(seen.every.filter(({ weight }) => weight !== undefined)).toEqual([]);
    expect(seen.ordinary.map(({ weight }) => weight)).toEqual(Array(10).fill(10));
    expect(seen.ordinary.every(record => Object.isFrozen(record))).toBe(true);
    expect(queue.stats()).toEqual([
      { sink: 'ordinary', produced: 10, delivered: 10, dropped: 0, queued: 0, sampledOut: 90 },
      { sink: 'every', produced: 100, delivered: 100, dropped: 0, queued: 0, sampledOut: 0 },
    ]);
  });

  it('gets at once what is over the capacity of the queue, and what is over its own', async () => {
    const { queue, seen } = queueOfBoth({ capacity: 10 });
    for (let id = 0; id < 15; id++) queue.offer(id);
    expect(seen.every.map(({ requestId }) => Number(requestId))).toEqual(numbers(10, 5));
    await queue.flush();
    for (let id = 15; id < 25; id++) queue.offer(id);
    await queue.close();
    expect(seen.every).toHaveLength(25);
    const [ordinary, every] = queue.stats();
    expect(ordinary).toMatchObject({ produced: 25, delivered: 20, dropped: 5, queued: 0 });
    expect(every).toMatchObject({ produced: 25, delivered: 25, dropped: 0, queued: 0 });
  });

  it('is not asked twice, and loses what it has refused', async () => {
    let calls = 0;
    const { queue } = queueOfBoth({ batchSize: 5 }, () => ((calls += 1) === 1 ? fail() : undefined));
    for (let id = 0; id < 10; id++) queue.offer(id);
    await queue.flush();
    expect(calls).toBe(2);
    expect(queue.stats()[1]).toMatchObject({ produced: 10, delivered: 5, dropped: 5, queued: 0 });
  });

  it('loses what it refuses over its capacity, and no request notices', async () => {
    const { queue } = queueOfBoth({ capacity: 1 }, () => fail());
    expect(() => [1, 2, 3].forEach(id => queue.offer(id))).not.toThrow();
    await queue.close();
    expect(queue.stats()[1]).toMatchObject({ produced: 3, delivered: 0, dropped: 3, queued: 0 });
  });
});
