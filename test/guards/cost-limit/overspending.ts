import type { CostLimitStore } from 'nestjs-async-context';
import { expect } from 'vitest';

/**
 * Takes of one bucket from all sides at once, with some given back, and sees that no point was spent twice: what is
 * admitted is what a bucket of 100 and what has come back can pay.
 *
 * @param stores each stands for a process
 */
export async function expectNoOverspending(stores: readonly CostLimitStore[], key: string): Promise<void> {
  const bucket = { key, burst: 100, restorePerSecond: 0.001 };
  const takes = Array.from({ length: 400 }, (_, i) => stores[i % stores.length]!);
  const answers = await Promise.all(takes.map(store => store.take({ ...bucket, need: 3, take: 3 })));
  expect(answers.filter(({ admitted }) => admitted)).toHaveLength(33);
  for (const { level } of answers) expect(level).toBeGreaterThanOrEqual(1);
  // 50 come back, 16 of 3 and a part of one.
  await Promise.all(takes.slice(0, 50).map(store => store.take({ ...bucket, need: -Infinity, take: -1 })));
  const more = await Promise.all(takes.map(store => store.take({ ...bucket, need: 3, take: 3 })));
  expect(more.filter(({ admitted }) => admitted)).toHaveLength(17);
  // Debt is kept, also what is not a whole number.
  const [first] = stores;
  const deep = await first!.take({ ...bucket, need: -Infinity, take: 1_000_000.25 });
  expect(deep.admitted).toBe(true);
  expect(deep.level).toBeGreaterThan(-1_000_001);
  expect(deep.level).toBeLessThan(-999_999);
  expect((await first!.take({ ...bucket, need: 0, take: 0 })).admitted).toBe(false);
  // Given back, it is full, and no fuller.
  const full = await first!.take({ ...bucket, need: -Infinity, take: -2_000_000 });
  expect(full).toEqual({ admitted: true, level: 100 });
  expect(await first!.take({ ...bucket, need: 100, take: 100 })).toEqual({ admitted: true, level: 0 });
  expect((await first!.take({ ...bucket, need: 1, take: 1 })).admitted).toBe(false);
}
