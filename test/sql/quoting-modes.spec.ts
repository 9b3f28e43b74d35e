import { describe, expect, it } from 'vitest';
import type { SqlDialect } from '../../lib/sql/statement';
import { scanStatement } from '../../lib/sql/statement-scanner';
import { seeded } from '../support/random';

type Quote = (value: string) => string;

/** How a session writes its strings and its names. */
interface Mode {
  readonly dialect: SqlDialect;
  readonly strings: readonly Quote[];
  readonly names: readonly Quote[];
}

const between =
  (quote: string, escape: (value: string) => string = value => value): Quote =>
  value =>
    quote + escape(value).replaceAll(quote, quote + quote) + quote;
const backslashes = (value: string): string => value.replaceAll('\\', '\\\\');
const escaped =
  (quote: string): Quote =>
  value =>
    quote + backslashes(value).replaceAll(quote, `\\${quote}`) + quote;
const bracketed: Quote = value => `[${value.replaceAll(']', ']]')}]`;
const bare: Quote = value => value.replaceAll(/\W/g, '_');

const MODES: Readonly<Record<string, Mode>> = {
  'PostgreSQL, as it comes': { dialect: 'postgresql', strings: [between("'")], names: [bare, between('"')] },
  'PostgreSQL, standard_conforming_strings = off': {
    dialect: 'postgresql',
    strings: [between("'", backslashes), escaped("'")],
    names: [bare, between('"')],
  },
  'MySQL, as it comes': {
    dialect: 'mysql',
    strings: [between("'", backslashes), escaped("'"), between('"', backslashes), escaped('"')],
    names: [bare, between('`')],
  },
  'MySQL, NO_BACKSLASH_ESCAPES': {
    dialect: 'mysql',
    strings: [between("'"), between('"')],
    names: [bare, between('`')],
  },
  'MySQL, ANSI_QUOTES': {
    dialect: 'mysql',
    strings: [between("'", backslashes), escaped("'")],
    names: [bare, between('`'), between('"')],
  },
  'MySQL, ANSI_QUOTES and NO_BACKSLASH_ESCAPES': {
    dialect: 'mysql',
    strings: [between("'")],
    names: [bare, between('`'), between('"')],
  },
  'MariaDB, MSSQL': {
    dialect: 'mysql',
    strings: [between("'", backslashes), escaped("'")],
    names: [bare, between('"'), bracketed],
  },
  'SQLite, double quotes are names': {
    dialect: 'sqlite',
    strings: [between("'")],
    names: [bare, between('"'), between('`'), bracketed],
  },
  'SQLite, double quotes may be strings': {
    dialect: 'sqlite',
    strings: [between("'"), between('"')],
    names: [bare, between('`'), bracketed],
  },
  'SQL Server, QUOTED_IDENTIFIER ON': {
    dialect: 'mssql',
    strings: [between("'")],
    names: [bare, between('"'), bracketed],
  },
  'SQL Server, QUOTED_IDENTIFIER OFF': {
    dialect: 'mssql',
    strings: [between("'"), between('"')],
    names: [bare, bracketed],
  },
  'an unknown database, MySQL-like': {
    dialect: 'generic',
    strings: [between("'", backslashes), escaped("'"), between('"', backslashes), escaped('"')],
    names: [bare, between('`')],
  },
  'an unknown database, PostgreSQL-like': {
    dialect: 'generic',
    strings: [between("'")],
    names: [bare, between('"')],
  },
};

// `S` and `N` stand for strings and names.
const TEMPLATES = [
  'SELECT N, f(S), S AS N FROM N WHERE N = S AND N LIKE S ORDER BY N LIMIT 1',
  'SELECT * FROM N WHERE N BETWEEN S AND S OR lower(S) = N',
  'SELECT CASE WHEN N = S THEN S ELSE S END FROM N a JOIN N b ON a.N = b.N AND b.N <> S',
  'SELECT S, S, S FROM N',
  'SELECT S',
  'INSERT INTO N (N, N) VALUES (S, S), (S, NULL)',
  'INSERT INTO N VALUES (f(S, coalesce(N, S)))',
  'UPDATE N SET N = S, N = upper(S) WHERE N IN (S, S) AND N = ?',
  'DELETE FROM N WHERE S = N OR N IN (SELECT N FROM N WHERE N > S)',
  'SELECT a.N FROM N AS a WHERE (a.N, a.N) = (S, S) GROUP BY N HAVING max(N) > S',
  'CREATE TABLE N (N varchar(9) DEFAULT S, CHECK (N <> S))',
  'SELECT N FROM N WHERE N LIKE S UNION ALL SELECT S',
  'CALL p(S, 5, S)',
];
const PIECES = [
  '\\',
  '\\\\',
  "'",
  '"',
  '`',
  ' ',
  '--',
  '/*',
  '*/',
  '#',
  '$$',
  ';',
  '?',
  '[',
  ']',
  ',',
  '=',
  'é',
];
const NAMES = ['orders', 'name', "it's", 'a\\', 'a\\"', 'Order Details', 'line_1'];

const shapeOf = (dialect: SqlDialect, text: string): string => scanStatement(text, dialect).shape;

describe('what a session may read otherwise', () => {
  it.each(Object.entries(MODES))('leaves no literal of 10,000 statements: %s', (_, mode) => {
    const random = seeded(12_010);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
    const value = (): string => {
      const some = (): string =>
        Array.from({ length: Math.floor(random() * 4) }, () => pick(PIECES)).join('');
      return some() + 'SECRET' + some() + (random() < 0.5 ? 'SECRET' + some() : '');
    };
    for (let round = 0; round < 10_000; round += 1) {
      const text = pick(TEMPLATES).replaceAll(/\b[SN]\b/g, what =>
        what === 'S' ? pick(mode.strings)(value()) : pick(mode.names)(pick(NAMES)),
      );
      const statement = JSON.stringify(scanStatement(text, mode.dialect));
      if (statement.includes('SECRET')) expect.fail(`${text} leaves ${statement}`);
    }
  });

  it.each<[SqlDialect, string, string]>([
    // Read alike, or to its end in the usual way alone: kept whole.
    [
      'postgresql',
      String.raw`SELECT a FROM t WHERE b = 'C:\' AND c = 1`,
      'SELECT a FROM t WHERE b = ? AND c = ?',
    ],
    [
      'postgresql',
      String.raw`SELECT a FROM t WHERE b LIKE $1 ESCAPE '\' AND c LIKE $2 ESCAPE '\' AND d = 'x'`,
      'SELECT a FROM t WHERE b LIKE ? ESCAPE ? AND c LIKE ? ESCAPE ? AND d = ?',
    ],
    [
      'postgresql',
      String.raw`SELECT a FROM t WHERE b = 'x\\' AND c = 1`,
      'SELECT a FROM t WHERE b = ? AND c = ?',
    ],
    [
      'mysql',
      String.raw`SELECT a FROM t WHERE b = 'it\'s' AND c = 1`,
      'SELECT a FROM t WHERE b = ? AND c = ?',
    ],
    ['mysql', String.raw`UPDATE t SET a = '{"b":"\"c\""}' WHERE d = 1`, 'UPDATE t SET a = ? WHERE d = ?'],
    // Read to its end in both ways, or in the other alone: what follows is dropped.
    [
      'postgresql',
      String.raw`SELECT a FROM t WHERE b = 'it\'s' AND c = 'that\'s' AND d = 1`,
      'SELECT a FROM t WHERE b = ?',
    ],
    ['postgresql', String.raw`SELECT a FROM t WHERE b = 'it\'s' AND c = 1`, 'SELECT a FROM t WHERE b = ?'],
    ['mysql', String.raw`SELECT a FROM t WHERE b = 'C:\' AND c = 1`, 'SELECT a FROM t WHERE b = ?'],
    ['mysql', String.raw`SELECT "a\", 'b' FROM t`, 'SELECT ?'],
    ['mysql', "SELECT 1 AS [it's], 'b'", 'SELECT ? AS'],
  ])('takes of %s what all sessions agree in: %s', (dialect, text, shape) => {
    expect(shapeOf(dialect, text)).toBe(shape);
  });

  it.each<[SqlDialect, string, string]>([
    // Mappers quote tables, and so all names.
    [
      'sqlite',
      'select "id", "name" from "users" where "id" = ? order by "name"',
      'SELECT "id", "name" FROM "users" WHERE "id" = ? ORDER BY "name"',
    ],
    [
      'sqlite',
      'insert into "users" ("first_name") values (?) returning "id"',
      'INSERT INTO "users"("first_name") VALUES (?) RETURNING "id"',
    ],
    [
      'sqlite',
      'update "users" set "name" = ? where "id" = ?',
      'UPDATE "users" SET "name" = ? WHERE "id" = ?',
    ],
    [
      'mssql',
      'SELECT "o"."id" AS "o_id" FROM "orders" "o" WHERE "o"."id" = @0',
      'SELECT "o"."id" AS "o_id" FROM "orders" "o" WHERE "o"."id" = ?',
    ],
    // There too, no string that cannot be a name, and none where strings stand.
    [
      'sqlite',
      'SELECT "id", "a b", "a@b.c", "42" FROM "users" WHERE x BETWEEN "c" AND 1',
      'SELECT "id", ?, ?, ? FROM "users" WHERE x BETWEEN ? AND ?',
    ],
    [
      'sqlite',
      'SELECT "id" FROM "users" WHERE x GLOB "c" AND y MATCH "d" AND CASE WHEN z THEN "e" ELSE "f" END',
      'SELECT "id" FROM "users" WHERE x GLOB ? AND y MATCH ? AND CASE WHEN z THEN ? ELSE ? END',
    ],
    // Who quotes no table may have strings in double quotes.
    [
      'sqlite',
      'SELECT "secret" AS a FROM users WHERE lower("secret") = a',
      'SELECT ? AS a FROM users WHERE lower(?) = a',
    ],
    ['sqlite', 'ATTACH DATABASE "file:secret" AS x KEY "secret"', 'ATTACH DATABASE ? AS x KEY ?'],
    ['mssql', 'EXEC p "secret"; PRINT "secret"', 'EXEC p ?; PRINT ?'],
    ['generic', 'PREPARE s FROM "SELECT secret"', 'PREPARE s FROM ?'],
  ])('tells names of %s from strings: %s', (dialect, text, shape) => {
    expect(shapeOf(dialect, text)).toBe(shape);
    // Whatever was read before.
    scanStatement('SELECT "a" FROM "b"', dialect);
    expect(shapeOf(dialect, text)).toBe(shape);
    scanStatement('SELECT "a" FROM b', dialect);
    expect(shapeOf(dialect, text)).toBe(shape);
  });

  it.each<[SqlDialect, string, string]>([
    [
      'postgresql',
      'SELECT sum(a) AS "bob@example.com", b AS "42", c AS "total_2" FROM "t2024"',
      'SELECT sum(a) AS ?, b AS ?, c AS "total_2" FROM "t2024"',
    ],
    ['mysql', 'SELECT a AS `550e8400-e29b-41d4-a716-446655440000` FROM `t`', 'SELECT a AS ? FROM `t`'],
    ['mssql', 'SELECT [2024], [name] FROM [t]', 'SELECT ?, [name] FROM [t]'],
  ])('keeps no name of %s that is made of data: %s', (dialect, text, shape) => {
    expect(shapeOf(dialect, text)).toBe(shape);
  });
});
