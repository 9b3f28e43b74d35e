import { describe, expect, it } from 'vitest';
import { bitsOf, hashKey, isReadable, type Key, keyOf } from '../../../lib/cost/evidence/value-key';

const UUID = '0191d6a2-7f3c-7b1e-9d2a-5c4e8f1a2b3c';

describe('keyOf()', () => {
  it.each([
    ['a number and its text', 42, '42'],
    ['a number and a bigint', 42, 42n],
    ['a negative number and its text', -7, '-7'],
    ['an id of 15 digits', 123_456_789_012_345, '123456789012345'],
    ['an id that is not exact as a number', 12_345_678_901_234_567_890n, '12345678901234567890'],
    ['a UUID in capitals', UUID.toUpperCase(), UUID],
    ['a UUID as 16 bytes', Buffer.from(UUID.replaceAll('-', ''), 'hex'), UUID],
    ['a date and another object of it', new Date(1_700_000_000_000), new Date(1_700_000_000_000)],
  ])('is one for %s', (_, a, b) => {
    expect(keyOf(a)).toBeDefined();
    expect(keyOf(a)).toBe(keyOf(b));
  });

  it.each([[true], [false], [null], [undefined], [''], [Number.NaN], [{}], [() => 1]])(
    'is none for %s',
    value => {
      expect(keyOf(value)).toBeUndefined();
    },
  );

  it('is one up to 128 characters, and none from 129 on', () => {
    expect(keyOf('x'.repeat(128))).toBe('x'.repeat(128));
    expect(keyOf('x'.repeat(129))).toBeUndefined();
  });

  it('is one up to 16 bytes, and none from 17 on', () => {
    expect(keyOf(new Uint8Array(16))).toBeDefined();
    expect(keyOf(new Uint8Array(17))).toBeUndefined();
    expect(keyOf(new Uint8Array(0))).toBeUndefined();
  });

  it('takes a number with a leading zero for a text', () => {
    expect(keyOf('042')).toBe('042');
    expect(keyOf('0')).toBe(0);
  });
});

describe('bitsOf()', () => {
  const sum = (keys: readonly Key[]): number => {
    let bits = 0;
    for (const [i, key] of keys.entries()) {
      const [before, last] = [keys[i - 2], keys[i - 1]];
      bits += bitsOf(
        key,
        last,
        typeof before === 'number' && typeof last === 'number' ? last - before : undefined,
      );
    }
    return Math.round(bits);
  };

  it.each([
    ['a counter', [1, 2, 3, 4, 5], 0],
    ['each twentieth of one', [20, 40, 60, 80], 0],
    ['irregular ids', [10_482, 73_911, 22_048, 91_377], 34],
    ['UUIDs', [UUID, UUID.replace('0', '1'), UUID.replace('0', '2')], 180],
    ['words', ['open', 'paid', 'cancelled'], 0],
    ['months', ['2026-01', '2026-02', '2026-03'], 0],
    ['codes of seven characters', ['AB-1234', 'CD-5678'], 0],
    ['codes of eight', ['ABC-1234', 'CDE-5678'], 48],
  ])('of %s', (_, keys, bits) => {
    expect(sum(keys)).toBe(bits);
  });
});

it.each([
  [42, true],
  [UUID, true],
  ['open', true],
  ['2026-01-31', true],
  ['9f86d081884c7d65', false],
  ['cart:17', false],
])('says of %s whether it can be read: %s', (key, readable) => {
  expect(isReadable(key)).toBe(readable);
});

it('hashes a key to one number, and two keys to two', () => {
  expect(hashKey('17')).toBe(hashKey(17));
  expect(hashKey(17)).not.toBe(hashKey(18));
});
