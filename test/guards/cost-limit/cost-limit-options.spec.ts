import {
  type CostLimitDefaults,
  type CostLimitOptions,
  CostLimit,
  MemoryCostLimitStore,
} from 'nestjs-async-context';
import { describe, expect, it } from 'vitest';
import type { GuardOptions } from 'nestjs-async-context';
import { readOptions } from '../../../lib/module/options-reader';

const fine: CostLimitOptions = { burst: 100, restorePerSecond: 1, by: 'user' };

function declare(options: Partial<Record<keyof CostLimitOptions, unknown>>): () => void {
  return () => {
    class Bad {
      get() {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Bad.prototype, 'get')!;
    CostLimit({ ...fine, ...options } as CostLimitOptions)(Bad.prototype, 'get', descriptor);
  };
}

describe('@CostLimit()', () => {
  it.each<[Partial<Record<keyof CostLimitOptions, unknown>>, string]>([
    [{ burst: 0 }, '({ burst }) is 0. Use a number of points above 0, or a function'],
    [{ burst: Infinity }, '({ burst }) is Infinity.'],
    [{ burst: undefined }, '({ burst }) is undefined.'],
    [{ restorePerSecond: Number.NaN }, '({ restorePerSecond }) is NaN.'],
    [{ restorePerSecond: '10' }, '({ restorePerSecond }) is "10".'],
    [
      { by: 'users' },
      "({ by }) is \"users\". Use 'user', 'ip', a key from createContextKey(), or a function",
    ],
    [{ by: null }, '({ by }) is null.'],
    [{ cost: { queries: 1 } }, '({ cost.queries }) is 1. There is no such option. Use query, row,'],
    [{ cost: { query: -1 } }, '({ cost.query }) is -1. Use a number of points, at least 0.'],
    [{ estimate: -1 }, '({ estimate }) is -1.'],
    [{ name: 'a b' }, '({ name }) is "a b". Use up to 64 characters of A-Z a-z 0-9 _ . -'],
    [{ name: 'x'.repeat(65) }, '({ name })'],
    [{ dryRun: 'yes' }, '({ dryRun }) is "yes". Use true or false.'],
    [{ maxHoldMs: 0 }, '({ maxHoldMs }) is 0. Use a whole number from 1'],
    [{ points: 1 } as never, '({ points }) is 1. There is no such option. Use burst,'],
  ])('says at the start that it cannot take %j', (options, words) => {
    expect(declare(options)).toThrow(`@CostLimit on Bad.get${words}`);
  });

  it('takes the least and the most', () => {
    for (const options of [
      { burst: Number.MIN_VALUE, restorePerSecond: 1e-9 },
      { estimate: 0, cost: { query: 0 }, maxHoldMs: 1, name: 'x'.repeat(64) },
      { burst: () => 1, restorePerSecond: () => Promise.resolve(1), by: () => undefined },
    ]) {
      expect(declare(options)).not.toThrow();
    }
  });

  it.each<[CostLimitDefaults, string]>([
    [{ default: { ...fine, burst: -1 } }, 'forRoot({ guards.costLimit.default.burst }) is -1.'],
    [{ default: 5 as never }, 'forRoot({ guards.costLimit.default }) is 5. Use an object with any of burst,'],
    [
      { store: {} as never },
      'forRoot({ guards.costLimit.store }) is an empty object. Use an object with a take() function',
    ],
    [{ onStoreFailure: 'open' as never }, "Use 'memory', 'admit' or 'refuse'."],
    [{ timeoutMs: 0 }, 'forRoot({ guards.costLimit.timeoutMs }) is 0.'],
    [{ burst: 1 } as never, 'There is no such option. Use default, store,'],
  ])('says at the start that the module cannot take %j', (costLimit, words) => {
    expect(() => readOptions({ guards: { costLimit } })).toThrow(words);
  });
});

describe('MemoryCostLimitStore', () => {
  it('says what it cannot take', () => {
    expect(() => new MemoryCostLimitStore({ maxKeys: 0 })).toThrow(
      'new MemoryCostLimitStore({ maxKeys }) is 0. Use a whole number from 1',
    );
    expect(() => new MemoryCostLimitStore({ now: 5 as never })).toThrow('({ now }) is 5. Use a function');
  });

  it.each<[GuardOptions, string]>([
    [{ ipv6Prefix: 129 }, 'forRoot({ guards.ipv6Prefix }) is 129. Use a whole number from 1 to 128.'],
    [{ problemJson: 1 as never }, 'forRoot({ guards.problemJson }) is 1. Use true or false.'],
    [{ dryrun: true } as never, 'There is no such option. Did you mean dryRun? Use dryRun, problemJson,'],
  ])('says at the start that guards cannot take %j', (guards, words) => {
    expect(() => readOptions({ guards })).toThrow(words);
  });
});
