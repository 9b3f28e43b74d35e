import { init, parse } from '@guanmingchiu/sqlparser-ts';
import { fingerprintSync, loadModule, parseSync } from 'libpg-query';
import { beforeAll, describe, expect, it } from 'vitest';
import type { SqlDialect, Statement } from '../../lib/sql/statement';
import { scanStatement } from '../../lib/sql/statement-scanner';
import { seeded } from '../support/random';
import { SAME_SHAPE, STATEMENTS } from './statement-corpus';

const DIALECTS: readonly SqlDialect[] = ['postgresql', 'mysql', 'sqlite', 'mssql', 'generic'];
const MEGABYTE = 1_048_576;

const WORDS =
  `SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE WITH AS JOIN ON IN ARRAY IS NULL DISTINCT LIMIT UNION COPY END
  ( ) ( ) , , . ; * = < > <> || -> ->> @> ? ?| ?& :: := + - / % [ ] @@ $1 ? :name a b orders "public"."orders" t.a
  E N X U e_ é \0 \uD800`.split(/\s+/);

const GAPS = [' ', ' ', '\n', '\t ', ' /* SECRET */ '];

const LITERALS: Readonly<Record<SqlDialect | 'any', readonly string[]>> = {
  any: [
    `'SECRET'`,
    `'it''s SECRET'`,
    `''`,
    `'"SECRET'`,
    `'-- SECRET'`,
    `'/* SECRET'`,
    `N'SECRET'`,
    `X'777'`,
    '777',
    '-777',
    '77.7e-777',
    '.777',
    '0x777',
    '777_000',
    `'\0SECRET\uD800'`,
    '-- SECRET\n',
    "-- it is 'SECRET\n",
    '/* SECRET \n */',
  ],
  postgresql: [
    String.raw`E'\'SECRET'`,
    String.raw`E'SECRET\\'`,
    String.raw`'SECRET\'`,
    `U&'SECRET'`,
    '$$SECRET$$',
    `$a$it's $$ SECRET$a$`,
    '/* /* */ SECRET */',
  ],
  mysql: [
    String.raw`'\'SECRET'`,
    String.raw`"SECRET\""`,
    `"it's SECRET"`,
    `"a""SECRET"`,
    '# SECRET\n',
    `# it's SECRET\n`,
  ],
  sqlite: [String.raw`'SECRET\'`, '/* /* SECRET */'],
  mssql: [String.raw`'SECRET\'`, '/* /* */ SECRET */', '$777'],
  generic: [
    String.raw`'\'SECRET'`,
    `= "SECRET"`,
    `, "it's SECRET"`,
    '$$SECRET$$',
    `q'[it's SECRET]'`,
    `'''it's SECRET'''`,
  ],
};

const UNTERMINATED = [`'SECRET`, `N'SECRET`, '/* SECRET', '-- SECRET', `"it's SECRET`];

const shapeOf = (text: string, dialect: SqlDialect = 'postgresql') => scanStatement(text, dialect).shape;
const fill = (piece: string, length = MEGABYTE) =>
  piece.repeat(Math.ceil(length / piece.length)).slice(0, length);
const nested = (depth: number) => `SELECT ${'('.repeat(depth)}a${')'.repeat(depth)}`;

describe('scanStatement', () => {
  it.each(STATEMENTS)('reads the %s statement %s', (dialect, text, shape, operation, kind, table) => {
    expect(scanStatement(text, dialect)).toMatchObject({ shape, operation, kind, table });
  });

  it.each(SAME_SHAPE)('gives one shape to statements that differ in their literals: %s', (...texts) => {
    expect(new Set(texts.map(text => shapeOf(text))).size).toBe(1);
  });

  it('reads its own shape as the same statement', () => {
    for (const [dialect, , shape, , kind, table] of STATEMENTS) {
      expect(scanStatement(shape, dialect)).toMatchObject({ shape, kind, table });
    }
  });

  it.each<[SqlDialect, string, string, string | undefined]>([
    ['postgresql', 'SET app.key TO secret; SELECT a FROM t', 'SET app.key TO ?; SELECT a FROM t', 't'],
    ['postgresql', 'SET LOCAL app.key = a.b, "c"', 'SET LOCAL app.key = ?.?, ?', undefined],
    ['postgresql', 'ALTER ROLE bob SET app.key TO secret', 'ALTER ROLE bob SET app.key TO ?', undefined],
    ['postgresql', 'UPDATE t SET a = b', 'UPDATE t SET a = b', 't'],
    ['mysql', 'SET @a := secret', 'SET ? := ?', undefined],
    ['postgresql', 'COPY t FROM stdin;\nsecret', 'COPY t FROM stdin', 't'],
    ['postgresql', 'SELECT stdin FROM t; SELECT b', 'SELECT stdin FROM t; SELECT b', 't'],
    ['generic', 'ALTER USER bob IDENTIFIED BY secret', 'ALTER USER bob IDENTIFIED', undefined],
    ['generic', 'SELECT identified FROM t', 'SELECT identified FROM t', 't'],
    ['generic', 'SELECT a / b FROM t WHERE c =~ /secret/', 'SELECT a / b FROM t WHERE c =~', 't'],
    [
      'generic',
      'SELECT a FROM t WHERE b = c0ffee42-e29b-41d4-a716-446655440000 AND d = 1',
      'SELECT a FROM t WHERE b = ? AND d = ?',
      't',
    ],
    [
      'generic',
      'SELECT a FROM t WHERE b = 550e8400-e29b-41d4-a716-446655440000',
      'SELECT a FROM t WHERE b = ?',
      't',
    ],
    ['generic', 'SELECT c0ffee42-e29b FROM t', 'SELECT c0ffee42 - e29b FROM t', 't'],
  ])('keeps no value that is written like a name in %s: %s', (dialect, text, shape, table) => {
    expect(scanStatement(text, dialect)).toMatchObject({ shape, table });
  });

  it('gives one shape to lists of every length', () => {
    const lists = [1, 2, 3, 10, 1_000, 25_000].map(length => Array.from({ length }, (_, at) => at + 1));
    const forms: ((list: number[]) => string)[] = [
      list => `SELECT * FROM t WHERE id IN (${list.map(n => `$${n}`).join(', ')}) ORDER BY id`,
      list => `SELECT * FROM t WHERE id IN (${list.map(n => `'${n}'`).join(',')}) AND a = 1`,
      list => `SELECT * FROM t WHERE id IN (${list.map(n => `$${n}::uuid`).join(',')}) AND a = 1`,
      list => `SELECT * FROM t WHERE id = ANY(ARRAY[${list.join(',')}]) LIMIT 1`,
      list => `SELECT * FROM t WHERE id IN (${list.map(n => `CAST($${n} AS uuid)`).join(', ')}) AND a = 1`,
      list => `SELECT * FROM t WHERE id IN (${list.map(n => `$${n}::varchar(20)`).join(', ')})`,
      list => `SELECT * FROM t WHERE id IN ($1::"public"."kind"${list.map(n => `, $${n}`).join('')})`,
      list => `SELECT * FROM t WHERE (a, b) IN (${list.map(n => `(${n}, -1)`).join(', ')})`,
      list => `INSERT INTO t (a) VALUES ${list.map(n => `($${n})`).join(', ')} RETURNING id`,
    ];
    for (const form of forms) expect(new Set(lists.map(list => shapeOf(form(list)))).size).toBe(1);
    const parameters = Array.from({ length: 65_535 }, (_, at) => `$${at + 1}`).join(', ');
    expect(shapeOf(`SELECT * FROM t WHERE id IN (${parameters}) ORDER BY id`)).toBe(
      'SELECT * FROM t WHERE id IN (?) ORDER BY id',
    );
  });

  it('gives one shape to chains of OR of every length', () => {
    const lists = [1, 2, 3, 10, 1_000].map(length => Array.from({ length }, (_, at) => at + 1));
    const forms: ((list: number[]) => string)[] = [
      list => `SELECT * FROM t WHERE ${list.map(n => `(a = $${n} AND b = '${n}')`).join(' OR ')} ORDER BY id`,
      list => `SELECT * FROM t WHERE c = 1 AND (${list.map(n => `t.a = $${n}`).join(' or ')}) LIMIT 10`,
      list => `SELECT * FROM t WHERE ((${list.map(n => `(("t"."a" = $${n}))`).join(' OR ')}))`,
      list => `SELECT * FROM t JOIN u ON ${list.map(n => `u.a IN ($${n}, 2)`).join(' OR ')} WHERE d = 1`,
      list =>
        `SELECT a FROM t GROUP BY a HAVING ${list.map(n => `a BETWEEN $${n} AND 5`).join(' OR ')}; COMMIT`,
    ];
    for (const form of forms) expect(new Set(lists.map(list => shapeOf(form(list)))).size).toBe(1);
    expect(shapeOf(`SELECT * FROM t WHERE ${fill('(a = 1 AND b = 2) OR ', 2 * MEGABYTE)}`)).toBe(
      'SELECT * FROM t WHERE (a = ? AND b = ?)',
    );
  });

  it.each([
    'SELECT * FROM t WHERE a = ? OR b = ? OR a = ?',
    'SELECT * FROM t WHERE a = ? AND b = ? OR b = ?',
    'SELECT * FROM t WHERE (a = ? OR b = ?) OR (a = ?)',
    'SELECT * FROM t WHERE a = ? OR a IS DISTINCT FROM ? OR a IS DISTINCT FROM ?',
    'SELECT CASE WHEN a = ? OR a = ? THEN ? END FROM t WHERE CASE WHEN a THEN ? END OR CASE WHEN a THEN ? END',
    'CREATE OR REPLACE VIEW v AS SELECT a OR a FROM t',
    'SELECT * FROM t WHERE a IN (?::int + b, ?)',
    'SELECT * FROM t WHERE a IN (?::int, b, ?)',
  ])('keeps what is no list: %s', text => {
    expect(shapeOf(text)).toBe(text);
  });

  it('keeps a shape of 2,048 characters and cuts one of 2,049', () => {
    const exact = `SELECT ${fill('a', 2_041)}`;
    expect(shapeOf(exact)).toBe(exact);
    expect(shapeOf(`${exact}b`)).toBe(exact);
    expect(shapeOf(`${exact.slice(0, -1)}\u{1F600}`)).toBe(`${exact.slice(0, -1)}\uFFFD`);
  });

  it('finds the table behind a column list that is longer than the shape', () => {
    const statement = scanStatement(`SELECT ${fill('"a"."b", ', 6_003)}1 FROM "orders"`, 'postgresql');
    expect(statement).toMatchObject({ table: 'orders', shape: 'SELECT 668 columns FROM "orders"' });
  });

  it('tells apart what is longer than a shape by all of it, up to 65,536 characters', () => {
    const wide = (condition: string): Statement =>
      scanStatement(
        `SELECT ${fill('"w"."c", ', 2_997)}"w"."c" FROM "wide" "w" WHERE ${condition}`,
        'postgresql',
      );
    const [parent, id] = [wide('"w"."parent_id" = $1'), wide('"w"."id" = $1')];
    expect([parent.shape, id.shape]).toEqual([
      'SELECT 334 columns FROM "wide" "w" WHERE "w"."parent_id" = ?',
      'SELECT 334 columns FROM "wide" "w" WHERE "w"."id" = ?',
    ]);
    expect(wide('"w"."parent_id" = 7')).toEqual(parent);
    const other = scanStatement(
      `SELECT ${fill('"w"."d", ', 2_997)}"w"."c" FROM "wide" "w" WHERE "w"."id" = $1`,
      'postgresql',
    );
    expect(other.shape).toBe(id.shape);
    expect(other.key).not.toBe(id.key);

    const long = (length: number, last: string): Statement =>
      scanStatement(`SELECT ${fill('a', length - 8)}${last}`, 'postgresql');
    expect(long(2_048, 'a').key).toBeUndefined();
    expect(long(65_536, 'a').key).not.toBe(long(65_536, 'b').key);
    expect(long(65_537, 'a').key).toBe(long(65_537, 'b').key);
  });

  it('follows 100 brackets and drops what stands in the 101st', () => {
    expect(shapeOf(nested(100))).toBe(nested(100));
    expect(shapeOf(nested(101))).toBe(`SELECT ${'('.repeat(100)}`);
  });

  it('reads past one huge literal and past one huge comment', () => {
    const expected = { shape: 'INSERT INTO t VALUES (?) RETURNING id', table: 't' };
    const huge = fill('x', 5 * MEGABYTE);
    expect(scanStatement(`INSERT INTO t VALUES ('${huge}') RETURNING id`, 'sqlite')).toMatchObject(expected);
    expect(scanStatement(`/*${huge}*/INSERT INTO t VALUES (1) RETURNING id`, 'sqlite')).toMatchObject(
      expected,
    );
  });

  it.each(DIALECTS)('answers within bounds for a megabyte of anything in %s', dialect => {
    const pieces =
      `( ) , . ; ' '' " "" [ ] \` \\ \\' -- # /* /**/ $ $$ $a $1 :a :: ? @ % = - a 1 e 1e- ('a'), (1), a; ` +
      'SELECT WITH FROM VALUES IN( (( ARRAY[ \u0000 \uD800 é';
    for (const piece of [
      ...pieces.split(' '),
      ' ',
      '\n',
      'a b ',
      'FROM a, ',
      '(SELECT 1 FROM ',
      'a AS (SELECT 1), ',
    ]) {
      for (const start of ['', 'SELECT * FROM t WHERE a IN (', 'INSERT INTO t VALUES ']) {
        const { shape, operation, table } = scanStatement(start + fill(piece), dialect);
        expect(shape.length).toBeLessThanOrEqual(2_048);
        expect(operation.length).toBeLessThanOrEqual(12);
        expect((table ?? '').length).toBeLessThanOrEqual(256);
      }
    }
  });

  it.each([
    ['postgresql', String.raw`SELECT E'a' 'b\' SECRET ' FROM t`],
    ['postgresql', "SELECT E'a'\n'b\\' SECRET ' FROM t"],
    ['postgresql', "SELECT $1$$it's SECRET$$"],
    ['postgresql', String.raw`SELECT 1E'\' SECRET '`],
    ['postgresql', "-- it's\r'SECRET'\n SECRET' FROM t"],
    ['postgresql', `SELECT "a = 'x' AND b = 'SECRET' AND "c" = 1`],
    ['postgresql', `SELECT "${'a '.repeat(64)} SECRET" FROM t`],
    ['mysql', `/*! SELECT '*/ SECRET' */`],
    ['mysql', String.raw`SELECT "a\" SECRET", 'b\\\' SECRET'`],
    ['mysql', `SELECT 'a''\\' SECRET', "b""SECRET"`],
    ['sqlite', 'SELECT * FROM t WHERE a = "SECRET" AND b IN ("SECRET", "SECRET") AND c LIKE "SECRET"'],
    ['mssql', `SELECT * FROM t WHERE a = "SECRET" AND [it's] = 'SECRET'`],
    ['generic', String.raw`SELECT 'a\' SECRET '`],
    ['generic', `SELECT "SECRET", f("SECRET") FROM t WHERE a = "SECRET"`],
    ['generic', `SELECT "a\\" SECRET "`],
    ['generic', `SELECT '''it's SECRET'''`],
    ['generic', `SELECT q'[it's SECRET]', nq'{it's SECRET}'`],
    ['generic', `SELECT [it's SECRET] FROM t WHERE a = 'SECRET'`],
    ['generic', `SELECT 1 # it's\n, 'SECRET'`],
    ['generic', `SELECT 1 --it's\n, 'SECRET'`],
    ['generic', `SELECT /* /* */ 'SECRET' */ SECRET' */`],
  ] as const)('drops what it cannot be sure of in %s: %s', (dialect, text) => {
    expect(JSON.stringify(scanStatement(text, dialect))).not.toContain('SECRET');
  });

  it('leaks no literal of 200,000 random statements', () => {
    const random = seeded(20_260_801);
    const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)]!;
    for (let round = 0; round < 200_000; round += 1) {
      const dialect = DIALECTS[round % DIALECTS.length]!;
      const literals = [...LITERALS.any, ...LITERALS[dialect]];
      // Here an opening bracket begins a name, and whatever stands in it is part of that name.
      const words = dialect === 'sqlite' || dialect === 'mssql' ? WORDS.filter(word => word !== '[') : WORDS;
      let text = '';
      for (let left = 1 + Math.floor(random() * 12); left > 0; left -= 1) {
        text += (random() < 0.4 ? pick(literals) : pick(words)) + pick(GAPS);
      }
      if (random() < 0.1) text += pick(UNTERMINATED);
      const statement = scanStatement(text, dialect);
      if (/SECRET|777/i.test(JSON.stringify(statement))) {
        expect.fail(`${dialect} leaks from ${JSON.stringify(text)}: ${JSON.stringify(statement)}`);
      }
    }
  });

  it('never throws on 50,000 random character sequences', () => {
    const random = seeded(7);
    const alphabet = [
      ...'()[],.;:\'"`$?@%#-+*/\\|&<>=! \n\r\t\0aEnNxXuUqQ019_',
      '\uD800',
      '\uDC00',
      'é',
      'FROM ',
      '$a$',
    ];
    for (let round = 0; round < 50_000; round += 1) {
      let text = '';
      for (let left = random() * 40; left > 0; left -= 1)
        text += alphabet[Math.floor(random() * alphabet.length)];
      const { shape } = scanStatement(text, DIALECTS[round % DIALECTS.length]!);
      expect(Buffer.from(shape).toString()).toBe(shape);
    }
  });
});

describe('compared with real parsers', () => {
  beforeAll(async () => {
    await Promise.all([loadModule(), init()]);
  });

  it('tells apart what PostgreSQL tells apart', () => {
    const fingerprints = new Map<string, string>();
    for (const [dialect, text, shape] of STATEMENTS) {
      const fingerprint = dialect === 'postgresql' ? attempt(() => fingerprintSync(text)) : undefined;
      if (fingerprint === undefined) continue;
      expect(fingerprints.get(shape) ?? fingerprint, text).toBe(fingerprint);
      fingerprints.set(shape, fingerprint);
    }
    expect(fingerprints.size).toBeGreaterThanOrEqual(104);
  });

  it.each(SAME_SHAPE)('agrees with PostgreSQL that only literals differ: %s', (...texts) => {
    expect(new Set(texts.map(text => fingerprintSync(text))).size).toBe(1);
  });

  it('finds the main table that the tree of PostgreSQL has', () => {
    let compared = 0;
    for (const [dialect, text, , operation, , table] of STATEMENTS) {
      const tree = dialect === 'postgresql' ? attempt(() => parseSync(text)) : undefined;
      if (tree === undefined || !/^(?:SELECT|INSERT|UPDATE|DELETE|MERGE|COPY|EXPLAIN)$/.test(operation))
        continue;
      expect.soft(table, text).toBe(mainTable(tree));
      compared += 1;
    }
    expect(compared).toBeGreaterThanOrEqual(72);
  });

  it('names a table that sqlparser finds in the other dialects', () => {
    let compared = 0;
    for (const [dialect, text, , , , table] of STATEMENTS) {
      const tree = dialect === 'postgresql' ? undefined : attempt(() => parse(text, dialect));
      if (tree === undefined || table === undefined) continue;
      const names = namesIn(tree).flatMap(name => [
        name,
        name.replace(/^(?:public|dbo|main)\.(?=[^.]+$)/, ''),
      ]);
      expect.soft(names, text).toContain(table);
      compared += 1;
    }
    expect(compared).toBeGreaterThanOrEqual(32);
  });
});

type Tree = Readonly<Record<string, unknown>>;

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null;

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

const FIRST = ['relation', 'rel', 'relations', 'intoClause', 'larg', 'fromClause'];

/** The target, else the first table of FROM, else one of a sub-query, else one of a common table expression. */
function mainTable(tree: unknown, hidden: ReadonlySet<string> = new Set()): string | undefined {
  if (!isTree(tree)) return undefined;
  if (typeof tree['relname'] === 'string') {
    const parts = [tree['catalogname'], tree['schemaname'], tree['relname']].filter(
      part => part !== undefined,
    );
    // The schema that a table is in where none is named.
    if (parts.length === 2 && String(parts[0]).toLowerCase() === 'public') parts.shift();
    return parts.length === 1 && hidden.has(tree['relname']) ? undefined : parts.join('.');
  }
  const { withClause } = tree;
  const ctes = isTree(withClause) ? (withClause['ctes'] as { CommonTableExpr: Tree }[]) : [];
  const names = new Set([...hidden, ...ctes.map(({ CommonTableExpr: cte }) => String(cte['ctename']))]);
  for (const key of [...FIRST, ...Object.keys(tree).filter(key => key !== 'withClause')]) {
    const table = mainTable(tree[key], names);
    if (table !== undefined) return table;
  }
  const isRecursive = isTree(withClause) && withClause['recursive'] === true;
  for (const { CommonTableExpr: cte } of ctes) {
    const visible = isRecursive ? names : new Set([...names].filter(name => name !== cte['ctename']));
    const table = mainTable(cte['ctequery'], visible);
    if (table !== undefined) return table;
  }
  return undefined;
}

/** Every dotted name in a tree of sqlparser. */
function namesIn(tree: unknown): string[] {
  if (!isTree(tree)) return [];
  const parts = Object.values(tree).map(part =>
    isTree(part) && isTree(part['Identifier']) ? part['Identifier']['value'] : undefined,
  );
  const isName = Array.isArray(tree) && parts.length > 0 && parts.every(part => typeof part === 'string');
  return isName ? [parts.join('.')] : Object.values(tree).flatMap(namesIn);
}
