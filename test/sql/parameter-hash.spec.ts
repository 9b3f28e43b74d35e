import { describe, expect, it } from 'vitest';
import { hashParameters, hashText } from '../../lib/sql/parameter-hash';

describe('the hash of parameters', () => {
  it.each<[string, unknown, unknown]>([
    ['numbers', [1], [2]],
    ['fractions', [0.1], [0.2]],
    ['large numbers', [2 ** 40], [2 ** 40 + 1]],
    ['texts', ['a'], ['b']],
    ['the order', ['a', 'b'], ['b', 'a']],
    ['a number and its text', [1], ['1']],
    ['how many there are', [1], [1, 1]],
    ['null and zero', [null], [0]],
    ['yes and no', [true], [false]],
    ['bigints', [1n], [2n]],
    ['days', [new Date(1)], [new Date(2)]],
    ['bytes', [Buffer.from([1])], [Buffer.from([2])]],
    ['lists in lists', [[1, 2]], [[2, 1]]],
    ['named ones', { id: 1 }, { id: 2 }],
    ['names', { a: 1 }, { b: 1 }],
    ['nothing and an empty list', undefined, []],
    ['where a name belongs', { a: { b: 1 } }, { a: {}, b: 1 }],
  ])('tells %s apart, and nothing else', (_what, a, b) => {
    expect(hashParameters(a)).toBeTypeOf('number');
    expect(hashParameters(a)).toBe(hashParameters(structuredClone(a)));
    expect(hashParameters(a)).not.toBe(hashParameters(b));
  });

  it('tells 100,000 ids apart', () => {
    const hashes = new Set<unknown>();
    for (let id = 0; id < 100_000; id++) hashes.add(hashParameters([id]));
    // Two of 32 bits are the same once or twice, by chance.
    expect(hashes.size).toBeGreaterThan(99_990);
  });

  it('compares texts of 1,024 characters, and none of 1,025', () => {
    expect(hashParameters(['x'.repeat(1_024)])).toBeTypeOf('number');
    expect(hashParameters(['x'.repeat(1_025)])).toBeUndefined();
    expect(hashText('x'.repeat(1_025))).toBeUndefined();
  });

  it('compares 64 values twelve deep, and none that are more or deeper', () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    expect(hashParameters(Array.from({ length: 64 }, () => 1))).toBeTypeOf('number');
    expect(hashParameters(Array.from({ length: 65 }, () => 1))).toBeUndefined();
    expect(hashParameters(nested(12))).toBeTypeOf('number');
    expect(hashParameters(nested(13))).toBeUndefined();
  });

  it('compares nothing once one value cannot be', () => {
    expect(hashParameters(['x'.repeat(1_025), 1])).toBeUndefined();
    expect(hashParameters({ at: () => 1, id: 1 })).toBeUndefined();
  });

  it('calls nothing of the application’s', () => {
    const trap = {
      get id(): number {
        throw new Error('called');
      },
      toJSON: () => {
        throw new Error('called');
      },
    };
    expect(hashParameters([trap])).toBeUndefined();
    class Point {
      x = 1;
    }
    expect(hashParameters([new Point()])).toBeUndefined();
    expect(hashParameters([Symbol('s')])).toBeUndefined();
    expect(hashParameters([() => 1])).toBeUndefined();
  });

  it('is part of what is hashed before it, such as the literals of a text', () => {
    expect(hashParameters([1], hashText('a'))).not.toBe(hashParameters([1], hashText('b')));
  });
});
