import { afterAll, beforeAll, expect, it } from 'vitest';
import { Programs } from '../support/child';
import type { Ticks } from './tick-shape-program';

const PROGRAM = 'test/kernel/tick-shape-program.ts';

let programs: Programs;
beforeAll(() => {
  programs = new Programs(PROGRAM);
}, 300_000);
afterAll(() => programs.remove());

it(
  'keeps an object of nextTick(), of the hidden class that those after a rest have, and no store',
  {
    timeout: 300_000,
  },
  async () => {
    const child = programs.start<Ticks>(PROGRAM, {}, ['--expose-gc', '--allow-natives-syntax']);
    expect([await child.exited, child.stderr]).toEqual([0, '']);
    expect(child.said).toEqual([{ kept: ['callback', 'args'], isOfOneClass: true, holdsStore: false }]);
  },
);
