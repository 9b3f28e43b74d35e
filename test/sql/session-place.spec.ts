import { describe, expect, it } from 'vitest';
import { placeOf } from '../../lib/sql/session-place';
import { RESETS, SETS } from '../../lib/sql/statement-effects';

const seedOf = (on: object): number => placeOf(on).seed;

describe('where a statement is asked', () => {
  it.each<[string, object, object]>([
    [
      'a pool and a client of pg',
      { options: { connectionString: 'postgres://u@h/d' } },
      { host: 'h', port: 5432, database: 'd', user: 'u' },
    ],
    [
      'two connections of mysql2',
      { config: { host: 'h', database: 'd' } },
      { config: { host: 'h', database: 'd' } },
    ],
    [
      'two connections of tedious',
      { config: { server: 's', options: { database: 'd' } } },
      { config: { server: 's', options: { database: 'd' } } },
    ],
  ])('is one place for %s', (_, one, other) => expect(seedOf(one)).toBe(seedOf(other)));

  it.each<[string, object, object]>([
    ['host', { host: 'a' }, { host: 'b' }],
    ['port', { host: 'a', port: 1 }, { host: 'a', port: 2 }],
    [
      'database',
      { options: { connectionString: 'postgres://h/a' } },
      { options: { connectionString: 'postgres://h/b' } },
    ],
    ['user', { config: { user: 'a' } }, { config: { user: 'b' } }],
    [
      'search_path',
      { host: 'a', connectionParameters: { options: '-c search_path=a' } },
      { host: 'a', connectionParameters: { options: '-c search_path=b' } },
    ],
    ['object, where nothing else is known', {}, {}],
  ])('is told apart by its %s', (_, one, other) => {
    expect(seedOf(one)).not.toBe(seedOf(other));
    expect(seedOf(one)).toBe(seedOf(one));
  });

  it('has one database for all of its connections, where that is known', () => {
    const database = (on: object): unknown => placeOf(on).database;
    expect(database({ config: { host: 'h', database: 'd' } })).toBe(database({ host: 'h', database: 'd' }));
    expect(database({ host: 'h', database: 'd' })).not.toBe(database({ host: 'h', database: 'e' }));
    expect(database({})).toBe(undefined);
  });

  it('is kept beside what cannot be written on, and is not seen by who looks at a connection', () => {
    const frozen = Object.freeze({ host: 'a' });
    const open = { host: 'a' };
    expect([seedOf(frozen), placeOf(frozen) === placeOf(frozen)]).toEqual([seedOf(open), true]);
    expect(Object.keys(open)).toEqual(['host']);
    expect(JSON.stringify(open)).toBe('{"host":"a"}');
  });

  it('calls no getter that throws out of it', () => {
    const on = Object.defineProperty({}, 'host', {
      get: () => {
        throw new Error('no');
      },
    });
    expect(seedOf(on)).toBe(seedOf(on));
  });

  it('is the same for sessions that were set up in the same way, with texts of up to 1,024 characters', () => {
    const setUp = (...texts: string[]): number => {
      const place = placeOf({ host: 'a' });
      for (const text of texts) place.note(SETS, text, undefined);
      return place.seed;
    };
    const padded = (length: number): string => 'SET a TO b'.padEnd(length);
    expect(setUp('SET a TO b')).toBe(setUp('SET a TO b'));
    expect(setUp('SET a TO b')).not.toBe(setUp('SET a TO c'));
    expect(setUp(padded(1_024))).toBe(setUp(padded(1_024)));
    expect(setUp(padded(1_025))).not.toBe(setUp(padded(1_025)));
    const reset = placeOf({ host: 'a' });
    reset.note(SETS, 'SET a TO b', undefined);
    reset.note(RESETS, 'RESET ALL', undefined);
    expect(reset.seed).toBe(setUp());
  });
});
