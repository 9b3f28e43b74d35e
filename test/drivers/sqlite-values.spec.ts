import type BetterSqlite3 from 'better-sqlite3';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { betterSqlite3Instrumentation } from '../../lib/drivers/sqlite/better-sqlite3.driver';
import { nodeSqliteInstrumentation } from '../../lib/drivers/sqlite/node-sqlite.driver';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';
import { foundBy, idOf, ITEMS_OF_ORDERS, MANY, type Named, named } from '../support/values';

/** What both drivers have in common. */
interface Database {
  prepare(text: string): Statement;
  exec(text: string): unknown;
  close(): void;
}

interface Statement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): unknown;
  all(...values: unknown[]): unknown[];
  iterate(...values: unknown[]): IterableIterator<unknown>;
}

type Row = Record<string, unknown>;

const load = createRequire(import.meta.url);
const instrumentations = [betterSqlite3Instrumentation(), nodeSqliteInstrumentation()];

// better-sqlite3 13 ends a process of Node 20 when a database is opened; node:sqlite came with 22.
const isThere = Number.parseInt(process.versions.node, 10) >= 22;
const openBetter = (): BetterSqlite3.Database =>
  new (load('better-sqlite3') as typeof BetterSqlite3)(':memory:');
const openNode = (): Database => {
  const { DatabaseSync } = load('node:sqlite') as { DatabaseSync: new (path: string) => Database };
  return new DatabaseSync(':memory:');
};

const ORDERS = 'SELECT id FROM orders';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = ?';
const idsOf = (rows: Iterable<unknown>): unknown[] => [...rows].map(row => (row as Row)['id']);

let test: TestApp;

beforeAll(async () => {
  if (isThere) [openBetter(), openNode()].forEach(db => db.close());
  test = await startApp({ instrumentations });
});
afterAll(() => test.close());

function fill(db: Database): void {
  db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, key BLOB, name TEXT)');
  db.exec('CREATE TABLE order_items (id INTEGER PRIMARY KEY, order_id INTEGER, order_key BLOB)');
  for (let n = 1; n <= MANY; n++) {
    db.prepare('INSERT INTO orders VALUES (?, randomblob(16), ?)').run(idOf(n), `order of ${n}`);
    db.prepare('INSERT INTO order_items (order_id) VALUES (?)').run(idOf(n));
  }
  db.exec('UPDATE order_items SET order_key = (SELECT key FROM orders WHERE orders.id = order_id)');
}

describe.skipIf(!isThere).each<[string, () => Database]>([
  ['better-sqlite3 (Node 22 and newer)', openBetter as () => Database],
  ['node:sqlite (Node 22 and newer)', openNode],
])('the rows of %s that its queries run for', (_name, open) => {
  let db: Database;
  const orders = (): unknown[] => idsOf(db.prepare(ORDERS).all());

  beforeAll(() => {
    db = open();
    fill(db);
  });
  afterAll(() => db.close());

  it.each<[string, () => unknown]>([
    ['all()', () => orders().forEach(id => db.prepare(ITEMS).all(id))],
    [
      'all() of a statement that is prepared once',
      () => {
        const items = db.prepare(ITEMS);
        orders().forEach(id => items.all(id));
      },
    ],
    ['get()', () => orders().forEach(id => db.prepare(ITEMS).get(id))],
    ['iterate() as the child', () => orders().forEach(id => [...db.prepare(ITEMS).iterate(id)])],
    [
      'iterate() as the parent',
      () => idsOf(db.prepare(ORDERS).iterate()).forEach(id => db.prepare(ITEMS).all(id)),
    ],
    [
      'run()',
      () => orders().forEach(id => db.prepare('UPDATE order_items SET id = id WHERE order_id = ?').run(id)),
    ],
    [
      'run() of an INSERT',
      () =>
        orders().forEach(id =>
          db.prepare('INSERT INTO order_items (id, order_id) VALUES (?, ?)').run(null, id),
        ),
    ],
    [
      ':name',
      () =>
        orders().forEach(id =>
          db.prepare('SELECT * FROM order_items WHERE order_id = :order').all({ order: id }),
        ),
    ],
    [
      '@name',
      () => orders().forEach(id => db.prepare('SELECT * FROM order_items WHERE order_id = @id').get({ id })),
    ],
    [
      'names and numbers at once',
      () =>
        orders().forEach(id =>
          db.prepare('SELECT * FROM order_items WHERE id > ? AND order_id = :id').all({ id }, 0),
        ),
    ],
    [
      'written into the text',
      () =>
        orders().forEach(id =>
          db.prepare(`SELECT * FROM order_items WHERE order_id = ${id as number}`).all(),
        ),
    ],
    [
      'several statements',
      () =>
        orders().forEach(id => db.prepare('SELECT * FROM order_items WHERE order_id = ? LIMIT ?').all(id, 5)),
    ],
  ])('are named: %s', async (_what, work) => {
    expect(await foundBy(test, work)).toEqual(ITEMS_OF_ORDERS);
  });

  it('are named by bytes', async () => {
    const found = await foundBy(test, () => {
      for (const row of db.prepare('SELECT key FROM orders').all())
        db.prepare('SELECT * FROM order_items WHERE order_key = ?').all((row as Row)['key']);
    });
    expect(found).toEqual([named('order_items', 'orders.key')]);
  });

  it('are named where there are more than are looked at', async () => {
    const MANY_ROWS =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i * i + 7 * (i % 5) AS order_id FROM n';
    for (const read of ['all', 'iterate'] as const) {
      const found = await foundBy(test, () => {
        const ids = [...db.prepare(MANY_ROWS)[read]()].map(row => (row as Row)['order_id']);
        ids.forEach(id => db.prepare(ITEMS).all(id));
      });
      expect(found).toMatchObject([{ table: 'order_items', confidence: 'proven' }]);
    }
  });

  it.each<[string, () => unknown]>([
    [
      'an empty result',
      () => idsOf(db.prepare(`${ORDERS} WHERE id < 0`).all()).forEach(id => db.prepare(ITEMS).all(id)),
    ],
    [
      'a get() of nothing',
      () => [1, 2, 3].forEach(id => db.prepare(`${ORDERS} WHERE name = ?`).get(`none ${id}`)),
    ],
    [
      'a statement that fails',
      () => {
        for (const id of [1, 2, 3]) {
          try {
            db.prepare('SELECT abs(-9223372036854775808) FROM orders WHERE id = ?').all(idOf(id));
          } catch {
            // As it should.
          }
        }
      },
    ],
  ])('are not there: %s', async (_what, work) => {
    const found = await foundBy(test, work);
    expect(found.filter(({ confidence }) => confidence === 'proven')).toEqual([]);
  });

  it('are what the application gets without this package', async () => {
    const seen = (): unknown[] => {
      const all = db.prepare('SELECT * FROM orders').all();
      const iterated = db.prepare('SELECT * FROM orders').iterate();
      const first = iterated.next();
      iterated.return?.();
      const failing = (): unknown => db.prepare(ITEMS).all({ unknown: 1 });
      return [
        all,
        Object.getPrototypeOf(all[0]),
        first,
        db.prepare(ORDERS).get(),
        db.prepare(`${ORDERS} WHERE id < 0`).get(),
        messageOf(failing),
      ];
    };
    const bare = seen();
    let counted: unknown;
    await recordOfUnit(test, () => {
      counted = seen();
    });
    expect(counted).toEqual(bare);
  });

  it('are not asked for what is not theirs to tell', async () => {
    let calls = 0;
    const values = {
      get id() {
        return (calls += 1);
      },
    };
    const ask = (): unknown => db.prepare('SELECT * FROM order_items WHERE order_id = :id').all(values);
    ask();
    const bare = calls;
    await recordOfUnit(test, ask);
    expect(calls).toBe(2 * bare);
    const hostile = new Proxy(
      {},
      {
        getPrototypeOf: () => Object.prototype,
        ownKeys: () => {
          throw new Error('hostile');
        },
      },
    );
    const bareError = messageOf(() => db.prepare(ITEMS).all(hostile));
    await recordOfUnit(test, () => expect(messageOf(() => db.prepare(ITEMS).all(hostile))).toBe(bareError));
  });
});

function messageOf(work: () => unknown): string {
  try {
    return `returned ${JSON.stringify(work())}`;
  } catch (error) {
    return (error as Error).message;
  }
}

describe.skipIf(!isThere)('what better-sqlite3 alone has (Node 22 and newer)', () => {
  let db: BetterSqlite3.Database;

  beforeAll(() => {
    db = openBetter();
    fill(db as unknown as Database);
  });
  afterAll(() => db.close());

  const items = (id: unknown): unknown => db.prepare(ITEMS).all(id);

  it.each<[string, () => unknown]>([
    [
      'raw()',
      () =>
        (db.prepare('SELECT name, id FROM orders').raw().all() as unknown[][]).forEach(([, id]) => items(id)),
    ],
    [
      'raw() of the child',
      () => idsOf(db.prepare(ORDERS).all()).forEach(id => db.prepare(ITEMS).raw().get(id)),
    ],
    [
      'numbers of places',
      () =>
        idsOf(db.prepare(ORDERS).all()).forEach(id =>
          db.prepare('SELECT * FROM order_items WHERE id > ?2 AND order_id = ?1').all({ 1: id, 2: 0 }),
        ),
    ],
    [
      'raw() that is iterated',
      () =>
        ([...db.prepare('SELECT name, id FROM orders').raw().iterate()] as unknown[][]).forEach(([, id]) =>
          items(id),
        ),
    ],
    ['pluck()', () => db.prepare(ORDERS).pluck().all().forEach(items)],
    ['pluck() that is iterated', () => [...db.prepare(ORDERS).pluck().iterate()].forEach(items)],
    [
      'pluck() of what has no column of its own in the text',
      () => db.prepare('SELECT * FROM (SELECT id FROM orders)').pluck().all().forEach(items),
    ],
    ['safeIntegers()', () => idsOf(db.prepare(ORDERS).safeIntegers().all()).forEach(items)],
    ['an array of values', () => idsOf(db.prepare(ORDERS).all()).forEach(id => db.prepare(ITEMS).all([id]))],
    [
      'arrays, values and names at once',
      () =>
        idsOf(db.prepare(ORDERS).all()).forEach(id =>
          db
            .prepare('SELECT * FROM order_items WHERE id > ? AND id > ? AND order_id = @id')
            .all([0], { id }, 0),
        ),
    ],
    ['bind()', () => idsOf(db.prepare(ORDERS).all()).forEach(id => db.prepare(ITEMS).bind(id).all())],
    ['a transaction', () => db.transaction(() => idsOf(db.prepare(ORDERS).all()).forEach(items))()],
  ])('is named: %s', async (_what, work) => {
    expect(await foundBy(test, work)).toEqual(ITEMS_OF_ORDERS);
  });

  it('is named by its path: expand()', async () => {
    const found = await foundBy(test, () => {
      for (const row of db.prepare(ORDERS).expand().all()) items((row as { orders: Row }).orders['id']);
    });
    expect(found).toEqual([named('order_items', 'orders.orders.id')]);
  });

  it('takes what is bound to different values for no duplicates', async () => {
    const { findings } = await recordOfUnit(test, () => {
      for (const id of [5, 6, 7]) db.prepare(ITEMS).bind(id).all();
    });
    expect(findings ?? []).toEqual([]);
  });

  it('knows the columns anew when a table has been altered', async () => {
    const own = openBetter();
    fill(own as unknown as Database);
    const text = 'SELECT * FROM orders';
    const read = (): Promise<Named[]> =>
      foundBy(test, () => {
        const rows = own.prepare(text).raw().all() as unknown[][];
        rows.forEach(([id]) => own.prepare(ITEMS).all(id));
      });
    expect(await read()).toEqual(ITEMS_OF_ORDERS);
    own.exec('ALTER TABLE orders DROP COLUMN key');
    expect(await read()).toEqual(ITEMS_OF_ORDERS);
    own.close();
  });

  it('pins no rows that are wide while they are iterated', async () => {
    const text = "SELECT id, printf('%.*c', 2000, 'x') AS body FROM orders";
    const found = await foundBy(test, () => idsOf(db.prepare(text).iterate()).forEach(items));
    expect(found).toEqual(ITEMS_OF_ORDERS);
  });

  it('gives raw(), pluck() and expand() as they are', async () => {
    const seen = (): unknown[] => [
      db.prepare('SELECT * FROM orders').raw().all(),
      db.prepare('SELECT name FROM orders').pluck().all(),
      db.prepare('SELECT NULL AS n').pluck().get(),
      db.prepare('SELECT orders.id, count(*) AS n FROM orders').expand().all(),
      [...db.prepare('SELECT * FROM orders').raw().iterate()],
    ];
    const bare = seen();
    let counted: unknown;
    await recordOfUnit(test, () => {
      counted = seen();
    });
    expect(counted).toEqual(bare);
  });
});

describe.skipIf(!isThere)('what node:sqlite alone has (Node 22 and newer)', () => {
  it('is named: values under names with their prefix, and rows that are arrays', async () => {
    const db = openNode();
    fill(db);
    const prefixed = await foundBy(test, () => {
      for (const id of idsOf(db.prepare(ORDERS).all()))
        db.prepare('SELECT * FROM order_items WHERE order_id = :id').all({ ':id': id });
    });
    const statement = db.prepare('SELECT name, id FROM orders') as Statement & {
      setReturnArrays?(enabled: boolean): void;
    };
    statement.setReturnArrays?.(true);
    const arrays = await foundBy(test, () => {
      for (const row of statement.all())
        db.prepare(ITEMS).all(Array.isArray(row) ? row[1] : (row as Row)['id']);
    });
    db.close();
    expect([prefixed, arrays]).toEqual([ITEMS_OF_ORDERS, ITEMS_OF_ORDERS]);
  });
});
