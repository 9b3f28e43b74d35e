import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Programs } from './support/child';
import type { Kept, Settings } from './support/many-modules';

const PROGRAM = 'test/support/many-modules.ts';
/** Nest itself leaves 2 KB of a module that it has compiled: names in the strings of V8, and code. */
const MOST_BYTES = 5 * 1_024;

describe('500 testing modules', () => {
  let programs: Programs;
  beforeAll(() => {
    programs = new Programs(PROGRAM);
  }, 300_000);
  afterAll(() => programs.remove());

  const ends: [string, Settings][] = [
    ['compiled and not closed, as in the spec that Nest generates,', { end: 'compiled', drivers: [] }],
    ['compiled, initialised and closed', { end: 'closed', drivers: [] }],
    ['compiled and not closed, with drivers', { end: 'compiled', drivers: ['bullmq', 'ioredis'] }],
  ];

  it.each(ends)('%s leave next to nothing behind', { timeout: 300_000 }, async (_end, settings) => {
    const child = programs.start<Kept>(PROGRAM, settings, ['--expose-gc']);
    expect([await child.exited, child.stderr]).toEqual([0, '']);
    const [kept] = child.said;
    expect(kept!.bytes).toBeLessThan(MOST_BYTES);
    expect(kept!.containers).toBe(0);
  });
});
