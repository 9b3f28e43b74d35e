import { MemoryCostLimitStore } from 'nestjs-async-context';
import { describe, expect, it } from 'vitest';

const bucket = { key: 'a', burst: 100, restorePerSecond: 10 };

function storeAt(start = 0) {
  const clock = { nowMs: start };
  return { clock, store: new MemoryCostLimitStore({ now: () => clock.nowMs }) };
}

describe('MemoryCostLimitStore', () => {
  it('takes what is there, down to the last point', () => {
    const { store } = storeAt();
    expect(store.take({ ...bucket, need: 100, take: 100 })).toEqual({ admitted: true, level: 0 });
    expect(store.take({ ...bucket, need: 0, take: 0 })).toEqual({ admitted: true, level: 0 });
    expect(store.take({ ...bucket, need: 0.001, take: 0.001 })).toEqual({ admitted: false, level: 0 });
  });

  it('restores at a steady pace, and keeps no more than the burst', () => {
    const { store, clock } = storeAt(5);
    store.take({ ...bucket, need: -Infinity, take: 150 });
    clock.nowMs += 5_000;
    expect(store.take({ ...bucket, need: 0, take: 0 })).toEqual({ admitted: true, level: 0 });
    clock.nowMs += 60_000;
    expect(store.take({ ...bucket, need: 0, take: 0 })).toEqual({ admitted: true, level: 100 });
    expect(store.take({ ...bucket, need: -Infinity, take: -50 })).toEqual({ admitted: true, level: 100 });
  });

  it('is no shorter by what it refuses', () => {
    const { store, clock } = storeAt();
    store.take({ ...bucket, need: 0, take: 100 });
    for (let i = 0; i < 9_999; i++) {
      clock.nowMs += 1;
      expect(store.take({ ...bucket, need: 100, take: 100 }).admitted).toBe(false);
    }
    clock.nowMs += 1;
    expect(store.take({ ...bucket, need: 100, take: 100 })).toEqual({ admitted: true, level: 0 });
  });

  it('takes nothing away where the clock goes back', () => {
    const { store, clock } = storeAt(1_000);
    store.take({ ...bucket, need: 0, take: 50 });
    clock.nowMs = 0;
    expect(store.take({ ...bucket, need: 0, take: 0 }).level).toBe(50);
  });

  it('keeps so many buckets, and forgets those that were not asked for longest', () => {
    const clock = { nowMs: 0 };
    const store = new MemoryCostLimitStore({ maxKeys: 3, now: () => clock.nowMs });
    const take = (key: string, points: number) => store.take({ ...bucket, key, need: points, take: points });
    for (const key of ['a', 'b', 'c']) take(key, 90);
    // Also a refusal keeps it.
    expect(take('a', 90).admitted).toBe(false);
    take('d', 90);
    expect(store.size).toBe(3);
    expect([take('a', 0).level, take('c', 0).level, take('d', 0).level]).toEqual([10, 10, 10]);
    expect(take('b', 0).level).toBe(100);
    expect(store.size).toBe(3);
  });

  it('keeps no bucket that is full', () => {
    const { store, clock } = storeAt();
    store.take({ ...bucket, need: 0, take: 10 });
    expect(store.size).toBe(1);
    clock.nowMs += 1_000;
    store.take({ ...bucket, need: 0, take: 0 });
    expect(store.size).toBe(0);
  });
});
