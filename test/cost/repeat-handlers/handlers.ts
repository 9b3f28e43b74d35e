import DataLoader from 'dataloader';
import { eq, inArray } from 'drizzle-orm';
import Cursor from 'pg-cursor';
import { customers, items, OrderSchema, orders, type Row, type Shop } from './shop';

/** What is to be found: an N+1 with its parents, proven or suspected, a duplicate or a fan-out, by table. */
export type Expected =
  | {
      readonly kind: 'n-plus-one' | 'suspected';
      readonly table: string;
      readonly parents: readonly string[];
    }
  | { readonly kind: 'duplicate' | 'fan-out'; readonly table: string };

/** One handler of the set. To extend it, add one here: nothing else has to be told. */
export interface RepeatHandler {
  readonly name: string;
  /** `size` is the length of the list that a request asks for. */
  run(shop: Shop, size: number): Promise<unknown>;
  readonly expected: readonly Expected[];
  /** Why one request does not show it: several of different sizes do. */
  readonly overRequests?: string;
  /** What one request shows; without it, and with `overRequests`, that is not looked at. */
  readonly alone?: readonly Expected[];
}

const LIST = 'SELECT * FROM orders ORDER BY id LIMIT $1';
const ITEMS = 'SELECT * FROM items WHERE order_id = $1';
const BUYER = 'SELECT * FROM customers WHERE id = $1';
const PRODUCT = 'SELECT * FROM products WHERE id = $1';
const NOTES = 'SELECT * FROM notes WHERE order_id = $1';

const nPlusOne = (table: string, ...parents: string[]): Expected => ({ kind: 'n-plus-one', table, parents });
/** The ids of all tables count from 1: under names that do not fit, they prove nothing. */
const suspected = (table: string, ...parents: string[]): Expected => ({ kind: 'suspected', table, parents });
const COUNTED = 'the buyers count up, as whoever asks for 1, 2, 3 does';
const each = async (rows: readonly Row[], work: (row: Row) => Promise<unknown>): Promise<void> => {
  for (const row of rows) await work(row);
};

/** A cache of the request. */
function cached(load: (id: number) => Promise<unknown>): (id: number) => Promise<unknown> {
  const known = new Map<number, Promise<unknown>>();
  return id => {
    if (!known.has(id)) known.set(id, load(id));
    return known.get(id)!;
  };
}

const raw: RepeatHandler[] = [
  {
    name: 'one after the other',
    run: async ({ q }, n) => each(await q(LIST, [n]), ({ id }) => q(ITEMS, [id])),
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'all at once',
    run: async ({ q }, n) => Promise.all((await q(LIST, [n])).map(({ id }) => q(ITEMS, [id]))),
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'four at a time',
    run: async ({ q }, n) => {
      const queue = await q(LIST, [n]);
      const worker = async (): Promise<void> => {
        for (let order = queue.shift(); order !== undefined; order = queue.shift())
          await q(ITEMS, [order['id']]);
      };
      await Promise.all([worker(), worker(), worker(), worker()]);
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'nested in two levels',
    run: async ({ q }, n) =>
      each(await q(LIST, [n]), async ({ id }) =>
        each(await q(ITEMS, [id]), item => q(PRODUCT, [item['product_id']])),
      ),
    expected: [nPlusOne('items', 'orders'), nPlusOne('products', 'items')],
  },
  {
    name: 'nested, all at once',
    run: async ({ q }, n) =>
      Promise.all(
        (await q(LIST, [n])).map(async ({ id }) =>
          Promise.all((await q(ITEMS, [id])).map(item => q(PRODUCT, [item['product_id']]))),
        ),
      ),
    expected: [nPlusOne('items', 'orders'), nPlusOne('products', 'items')],
  },
  {
    name: 'two children for each row',
    run: async ({ q }, n) =>
      each(await q(LIST, [n]), async ({ id, buyer_id }) => {
        await q(BUYER, [buyer_id]);
        await q(ITEMS, [id]);
      }),
    expected: [nPlusOne('customers', 'orders'), nPlusOne('items', 'orders')],
    overRequests: COUNTED,
    alone: [suspected('customers', 'orders'), nPlusOne('items', 'orders')],
  },
  {
    name: 'the same child twice for each row',
    run: async ({ q }, n) =>
      each(await q(LIST, [n]), async ({ buyer_id, seller_id }) => {
        await q(BUYER, [buyer_id]);
        await q(BUYER, [seller_id]);
      }),
    expected: [suspected('customers', 'orders'), { kind: 'duplicate', table: 'customers' }],
    overRequests: 'two runs for each row are no evidence in one request',
  },
  {
    name: 'behind a cache of the request',
    run: async ({ q }, n) => {
      const seller = cached(id => q(BUYER, [id % 3 === 0 ? 1 : id]));
      await each(
        await q('SELECT id, id - id % 2 AS pair FROM orders ORDER BY id LIMIT $1', [n]),
        ({ pair }) => seller(pair!),
      );
    },
    expected: [suspected('customers', 'orders'), { kind: 'duplicate', table: 'customers' }],
    overRequests: 'half of the rows are answered by the cache',
  },
  {
    name: 'filtered before the loop',
    run: async ({ q }, n) => {
      const even = (await q(LIST, [n])).filter(({ id }) => id! % 2 === 0);
      await each(even, ({ id }) => q(ITEMS, [id]));
    },
    expected: [nPlusOne('items', 'orders')],
    overRequests: 'half of the rows are left out',
  },
  {
    name: 'with a count for the pages',
    run: async ({ q }, n) => {
      await q('SELECT count(*)::int AS total FROM orders');
      await each(await q(`${LIST} OFFSET $2`, [n, 5]), ({ id }) => q(ITEMS, [id]));
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'within each of three pages',
    run: async ({ q }, n) => {
      for (let page = 0; page < 3; page++) {
        await each(await q(`${LIST} OFFSET $2`, [n, page * n]), ({ id }) => q(NOTES, [id]));
      }
    },
    expected: [nPlusOne('notes', 'orders')],
  },
  {
    name: 'pages alone',
    run: async ({ q }, n) => {
      for (let page = 0; page < 4; page++) await q(`${LIST} OFFSET $2`, [n, page * n]);
    },
    expected: [],
  },
  {
    name: 'two parents, one after the other',
    run: async ({ q }, n) => {
      await each(await q(LIST, [n]), ({ buyer_id }) => q(BUYER, [buyer_id]));
      await each(await q('SELECT * FROM products ORDER BY id LIMIT $1', [n + 2]), ({ id }) => q(BUYER, [id]));
    },
    expected: [suspected('customers', 'orders'), { kind: 'duplicate', table: 'customers' }],
  },
  {
    name: 'two parents, both before the loop',
    run: async ({ q }, n) => {
      const some = await q(LIST, [n]);
      const more = await q('SELECT * FROM products ORDER BY id LIMIT $1', [n + 2]);
      await each([...some, ...more], ({ id }) => q(BUYER, [id]));
    },
    expected: [suspected('customers', 'orders'), { kind: 'duplicate', table: 'customers' }],
  },
  {
    name: 'an unrelated list before the real one',
    run: async ({ q }, n) => {
      await q('SELECT * FROM products ORDER BY id LIMIT $1', [n]);
      await each(await q(LIST, [n]), ({ id }) => q(ITEMS, [id]));
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'an unrelated list of a fixed length after the real one',
    run: async ({ q }, n) => {
      const list = await q(LIST, [n]);
      await q('SELECT * FROM statuses');
      await each(list, ({ id }) => q(ITEMS, [id]));
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'rows of a cursor',
    run: async ({ pool, q }, n) => {
      const client = await pool.connect();
      try {
        const cursor = client.query(new Cursor<Row>(LIST, [n]));
        const rows = await cursor.read(n);
        await each(rows, ({ id }) => q(ITEMS, [id]));
        await cursor.close();
      } finally {
        client.release();
      }
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'a row written for each row',
    run: async ({ q }, n) =>
      each(await q(LIST, [n]), ({ id }) => q('INSERT INTO notes (order_id) VALUES ($1)', [id])),
    expected: [nPlusOne('notes', 'orders')],
  },
  {
    name: 'an update for each row, in a transaction',
    run: ({ transaction }, n) =>
      transaction(async q =>
        each(await q(LIST, [n]), ({ id }) => q('UPDATE products SET name = $1 WHERE id = $2', ['p', id])),
      ),
    expected: [nPlusOne('products', 'orders')],
    overRequests: COUNTED,
    alone: [suspected('products', 'orders')],
  },
  {
    name: 'asked whether it is there, then written',
    run: async ({ q }, n) =>
      each(await q(LIST, [n]), async ({ id }) => {
        const found = await q('SELECT 1 AS found FROM customers WHERE id = $1', [id]);
        if (found.length === 1) await q('UPDATE customers SET name = $1 WHERE id = $2', ['c', id]);
      }),
    expected: [nPlusOne('customers', 'orders'), nPlusOne('customers', 'orders')],
    overRequests: COUNTED,
    alone: [suspected('customers', 'orders'), suspected('customers', 'orders')],
  },
  {
    name: 'a tree, to its leaves',
    run: async ({ q }, n) => {
      const visit = async (id: number): Promise<void> =>
        each(await q('SELECT * FROM nodes WHERE parent_id = $1', [id]), node => visit(node['id']!));
      await visit(1 + (n % 3));
    },
    expected: [nPlusOne('nodes', 'nodes')],
  },
  {
    name: 'up the chain of parents',
    run: async ({ q }) => {
      for (let id = 40; id > 0;)
        id = (await q('SELECT * FROM nodes WHERE id = $1', [id]))[0]?.['parent_id'] ?? 0;
    },
    expected: [],
  },
  {
    name: 'two unrelated N+1',
    run: async ({ q }, n) => {
      await each(await q(LIST, [n]), ({ id }) => q(NOTES, [id]));
      await each(await q('SELECT * FROM statuses'), ({ id }) => q(PRODUCT, [id]));
    },
    expected: [nPlusOne('notes', 'orders'), suspected('products', 'orders')],
  },
  {
    name: 'no rows',
    run: async ({ q }) => each(await q('SELECT * FROM orders WHERE id < 0'), ({ id }) => q(ITEMS, [id])),
    expected: [],
  },
  {
    name: 'two rows',
    run: async ({ q }) => each(await q(LIST, [2]), ({ id }) => q(ITEMS, [id])),
    expected: [],
  },
  {
    name: 'IN for all',
    run: async ({ q }, n) => {
      const ids = (await q(LIST, [n])).map(({ id }) => id);
      await q('SELECT * FROM items WHERE order_id = ANY ($1)', [ids]);
    },
    expected: [],
  },
  {
    name: 'IN for ten at a time',
    run: async ({ q }, n) => {
      const ids = (await q(LIST, [n * 5])).map(({ id }) => id);
      for (let i = 0; i < ids.length; i += 10) {
        await q('SELECT * FROM items WHERE order_id = ANY ($1)', [ids.slice(i, i + 10)]);
      }
    },
    expected: [],
  },
  {
    name: 'a DataLoader',
    run: async ({ q }, n) => {
      const loader = new DataLoader<number, Row[]>(async ids => {
        const found = await q('SELECT * FROM items WHERE order_id = ANY ($1)', [ids]);
        return ids.map(id => found.filter(item => item['order_id'] === id));
      });
      await Promise.all((await q(LIST, [n])).map(({ id }) => loader.load(id!)));
    },
    expected: [],
  },
  {
    name: 'six fixed queries of one shape at once',
    run: ({ q }) => Promise.all([1, 2, 3, 4, 5, 6].map(id => q(PRODUCT, [id]))),
    expected: [{ kind: 'fan-out', table: 'products' }],
  },
  {
    name: 'six fixed queries at once, after a list of any length',
    run: async ({ q }, n) => {
      await q(LIST, [n]);
      await Promise.all([1, 2, 3, 4, 5, 6].map(id => q(PRODUCT, [id])));
    },
    expected: [suspected('products', 'orders'), { kind: 'fan-out', table: 'products' }],
  },
  {
    name: 'six fixed queries of six shapes at once',
    run: ({ q }) =>
      Promise.all(
        ['customers', 'orders', 'items', 'products', 'notes', 'nodes'].map(t =>
          q(`SELECT count(*)::int AS n FROM ${t}`),
        ),
      ),
    expected: [],
  },
  {
    name: 'four fixed queries in turn, after a list of any length',
    run: async ({ q }, n) => {
      await q(LIST, [n]);
      for (const id of [1, 2, 3, 4]) await q(PRODUCT, [id]);
    },
    expected: [suspected('products', 'orders')],
  },
  {
    name: 'the first three of many',
    run: async ({ q }, n) => each((await q(LIST, [10 + n])).slice(0, 3), ({ id }) => q(ITEMS, [id])),
    expected: [],
  },
  {
    name: 'a retry after a list of three',
    run: async ({ q }) => {
      await q(LIST, [3]);
      for (let i = 0; i < 3; i++)
        await q('SELECT 1 / ($1::int - 1) AS n FROM products LIMIT 1', [1]).catch(() => undefined);
    },
    expected: [{ kind: 'duplicate', table: 'products' }],
  },
  {
    name: 'a poll until something has changed',
    run: async ({ q }, n) => {
      await q(LIST, [n]);
      for (let i = 0; i < n; i++) await q('SELECT count(*)::int AS n FROM notes WHERE order_id = $1', [0]);
    },
    expected: [{ kind: 'duplicate', table: 'notes' }],
  },
  {
    name: 'the same row read three times',
    run: async ({ q }) => {
      for (let i = 0; i < 3; i++) await q(BUYER, [7]);
    },
    expected: [{ kind: 'duplicate', table: 'customers' }],
  },
  {
    name: 'read, written, and read again',
    run: async ({ q }) => {
      await q(BUYER, [7]);
      await q('UPDATE customers SET name = $1 WHERE id = $2', ['c', 7]);
      await q(BUYER, [7]);
    },
    expected: [],
  },
];

const typeorm: RepeatHandler[] = [
  {
    name: 'TypeORM: lazy items',
    run: async ({ typeorm: source }, n) => {
      for (const order of await source.getRepository(OrderSchema).find({ take: n, order: { id: 'ASC' } }))
        await order.items;
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'TypeORM: lazy buyers, all at once',
    run: async ({ typeorm: source }, n) => {
      const found = await source.getRepository(OrderSchema).find({ take: n, order: { id: 'ASC' } });
      await Promise.all(found.map(order => order.buyer));
    },
    expected: [nPlusOne('customers', 'orders')],
  },
  {
    name: 'TypeORM: relations',
    run: ({ typeorm: source }, n) =>
      source
        .getRepository(OrderSchema)
        .find({ take: n, order: { id: 'ASC' }, relations: { items: true, buyer: true } }),
    expected: [],
  },
  {
    name: 'TypeORM: findOneBy in a loop',
    run: async ({ typeorm: source }, n) => {
      for (const { id } of await source.query<Row[]>(LIST, [n])) {
        await source.getRepository('Customer').findOneBy({ id });
      }
    },
    expected: [nPlusOne('customers', 'orders')],
    overRequests: COUNTED,
    alone: [suspected('customers', 'orders')],
  },
  {
    name: 'TypeORM: a join',
    run: ({ typeorm: source }, n) =>
      source
        .getRepository(OrderSchema)
        .createQueryBuilder('o')
        .leftJoinAndSelect('o.items', 'i')
        .take(n)
        .getMany(),
    expected: [],
  },
];

const withDrizzle: RepeatHandler[] = [
  {
    name: 'Drizzle: in a loop',
    run: async ({ drizzle: db }, n) => {
      for (const { id } of await db.select().from(orders).orderBy(orders.id).limit(n)) {
        await db.select().from(items).where(eq(items.orderId, id));
      }
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'Drizzle: buyers, all at once',
    run: async ({ drizzle: db }, n) => {
      const found = await db.select().from(orders).orderBy(orders.id).limit(n);
      await Promise.all(
        found.map(({ buyerId }) => db.select().from(customers).where(eq(customers.id, buyerId!))),
      );
    },
    expected: [nPlusOne('customers', 'orders')],
    overRequests: COUNTED,
    alone: [suspected('customers', 'orders'), { kind: 'fan-out', table: 'customers' }],
  },
  {
    name: 'Drizzle: inArray',
    run: async ({ drizzle: db }, n) => {
      const found = await db.select().from(orders).orderBy(orders.id).limit(n);
      const ids = found.map(({ id }) => id);
      return ids.length === 0 ? [] : db.select().from(items).where(inArray(items.orderId, ids));
    },
    expected: [],
  },
  {
    name: 'Drizzle: a join',
    run: ({ drizzle: db }, n) =>
      db.select().from(orders).leftJoin(items, eq(items.orderId, orders.id)).limit(n),
    expected: [],
  },
];

const prisma: RepeatHandler[] = [
  {
    name: 'Prisma: findMany in a loop',
    run: async ({ prisma: db }, n) => {
      for (const { id } of await db.order.findMany({ take: n, orderBy: { id: 'asc' } })) {
        await db.item.findMany({ where: { orderId: id } });
      }
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'Prisma: findFirst, all at once',
    run: async ({ prisma: db }, n) => {
      const found = await db.order.findMany({ take: n, orderBy: { id: 'asc' } });
      await Promise.all(found.map(({ buyerId }) => db.customer.findFirst({ where: { id: buyerId } })));
    },
    expected: [nPlusOne('customers', 'orders')],
    overRequests: COUNTED,
    alone: [suspected('customers', 'orders'), { kind: 'fan-out', table: 'customers' }],
  },
  {
    name: 'Prisma: a count in a loop',
    run: async ({ prisma: db }, n) => {
      for (const { id } of await db.order.findMany({ take: n, orderBy: { id: 'asc' } })) {
        await db.item.count({ where: { orderId: id } });
      }
    },
    expected: [nPlusOne('items', 'orders')],
  },
  {
    name: 'Prisma: findUnique, which it batches',
    run: async ({ prisma: db }, n) => {
      const found = await db.order.findMany({ take: n, orderBy: { id: 'asc' } });
      await Promise.all(found.map(({ buyerId }) => db.customer.findUnique({ where: { id: buyerId } })));
    },
    expected: [],
  },
  {
    name: 'Prisma: include',
    run: ({ prisma: db }, n) => db.order.findMany({ take: n, include: { items: true, buyer: true } }),
    expected: [],
  },
];

export const repeatHandlers: readonly RepeatHandler[] = [...raw, ...typeorm, ...withDrizzle, ...prisma];
