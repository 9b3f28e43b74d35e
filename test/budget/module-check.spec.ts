import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Programs } from '../support/child';
import { platforms } from '../support/platforms';
import type { ModuleCheckSettings } from './module-check/app';

const PROGRAM = 'test/budget/module-check/app.ts';
let programs: Programs;
beforeAll(() => {
  programs = new Programs(PROGRAM);
});
afterAll(() => programs.remove());

/** The warnings of a process that serves three requests and then ends by itself. */
async function warningsOf(settings: ModuleCheckSettings): Promise<string[]> {
  const child = programs.start<string[]>(PROGRAM, settings);
  const warnings = await child.hears('warnings', (said): said is string[] => Array.isArray(said));
  expect(await child.exited).toBe(0);
  return warnings;
}

describe.each(platforms)('@QueryBudget on %s', platform => {
  it('warns once where the application does not import the module', async () => {
    expect(await warningsOf({ platform, withModule: false })).toEqual([
      '@QueryBudget on OrdersController.list has no effect: the application does not import AsyncContextModule. ' +
        'Add AsyncContextModule.forRoot() to the imports of the root module',
    ]);
  });

  it('warns of nothing where it does', async () => {
    expect(await warningsOf({ platform, withModule: true })).toEqual([]);
  });
});
