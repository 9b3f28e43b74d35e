import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Bulkhead } from '../../lib/guards/concurrency/bulkhead';
import { seeded } from '../support/random';

describe('a bulkhead', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('gives the last of its slots, and not one more', () => {
    const bulkhead = new Bulkhead(2, 0);
    expect([bulkhead.take('a'), bulkhead.take('a'), bulkhead.take('a')]).toEqual([true, true, false]);
    expect(bulkhead.take('b')).toBe(true);
    bulkhead.giveBack('a');
    expect([bulkhead.take('a'), bulkhead.take('a')]).toEqual([true, false]);
  });

  it('hands a slot to who has waited longest, and lets no newcomer in before', () => {
    const bulkhead = new Bulkhead(1, 100);
    const seen: string[] = [];
    bulkhead.take('');
    for (const name of ['first', 'second']) bulkhead.wait('', has => seen.push(`${name} ${has}`));
    bulkhead.giveBack('');
    expect(seen).toEqual(['first true']);
    expect(bulkhead.take('')).toBe(false);
    bulkhead.giveBack('');
    expect(seen).toEqual(['first true', 'second true']);
    bulkhead.giveBack('');
    expect(bulkhead.keys).toBe(0);
  });

  it('lets one wait until its time is over, and not longer', () => {
    const bulkhead = new Bulkhead(1, 100);
    const seen: boolean[] = [];
    bulkhead.take('');
    bulkhead.wait('', has => seen.push(has));
    vi.advanceTimersByTime(99);
    expect(seen).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(seen).toEqual([false]);
    bulkhead.giveBack('');
    expect(seen).toEqual([false]);
    expect(bulkhead.take('')).toBe(true);
  });

  it('forgets who leaves the queue, and tells it once', () => {
    const bulkhead = new Bulkhead(1, 100);
    const seen: string[] = [];
    bulkhead.take('');
    const leave = bulkhead.wait('', has => seen.push(`first ${has}`));
    bulkhead.wait('', has => seen.push(`second ${has}`));
    leave();
    leave();
    bulkhead.giveBack('');
    leave();
    expect(seen).toEqual(['first false', 'second true']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('keeps hostile keys apart, and none that is not in use', () => {
    const bulkhead = new Bulkhead(1, 0);
    const keys = ['', '__proto__', 'constructor', '\0', 'ä', 'a'.repeat(10_000)];
    for (const key of keys) expect(bulkhead.take(key)).toBe(true);
    for (const key of keys) expect(bulkhead.take(key)).toBe(false);
    for (const key of keys) bulkhead.giveBack(key);
    expect(bulkhead.keys).toBe(0);
  });

  it.each([1, 2, 3])('holds in 10,000 random steps, seed %i', seed => {
    const random = seeded(seed);
    const limit = 3;
    const bulkhead = new Bulkhead(limit, 50);
    const running = new Map<string, number>();
    const queues = new Map<string, { number: number; leave: () => void }[]>();
    let arrivals = 0;
    let most = 0;
    const begin = (key: string): void => {
      running.set(key, (running.get(key) ?? 0) + 1);
      most = Math.max(most, running.get(key)!);
      expect(running.get(key)).toBeLessThanOrEqual(limit);
    };
    const arrive = (key: string): void => {
      const queue = queues.get(key) ?? [];
      queues.set(key, queue);
      const number = (arrivals += 1);
      if (bulkhead.take(key)) {
        expect(queue).toEqual([]);
        begin(key);
        return;
      }
      const waiter = { number, leave: () => undefined as void };
      queue.push(waiter);
      waiter.leave = bulkhead.wait(key, hasSlot => {
        // Only the first of the queue gets a slot.
        if (hasSlot) expect(queue[0]?.number).toBe(number);
        queue.splice(
          queue.findIndex(({ number: other }) => other === number),
          1,
        );
        if (hasSlot) begin(key);
      });
    };
    for (let step = 0; step < 10_000; step += 1) {
      const key = `caller ${Math.floor(random() * 5)}`;
      const dice = random();
      if (dice < 0.45) arrive(key);
      else if (dice < 0.85 && (running.get(key) ?? 0) > 0) {
        running.set(key, running.get(key)! - 1);
        bulkhead.giveBack(key);
      } else if (dice < 0.9) {
        const queue = queues.get(key) ?? [];
        queue[Math.floor(random() * queue.length)]?.leave();
      } else vi.advanceTimersByTime(Math.floor(random() * 20));
      expect(bulkhead.held(key)).toBe(running.get(key) ?? 0);
    }
    expect(most).toBe(limit);
    vi.advanceTimersByTime(50);
    for (const [key, count] of running) {
      for (let i = 0; i < count; i += 1) bulkhead.giveBack(key);
      expect(bulkhead.held(key)).toBe(0);
    }
    expect(bulkhead.keys).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});
