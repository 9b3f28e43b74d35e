import { eq, inArray } from 'drizzle-orm';
import { MikroOrder } from './models';
import { chunks, innocent } from './labelled-handler';
import type { Row } from './shop';

const typeorm = innocent('ORMs', 'TypeORM', {
  'eager relations': ({ typeorm: source, entities }, { size }) =>
    source.getRepository(entities.EagerOrder).find({ take: size, order: { id: 'ASC' } }),
  'relations, joined': ({ typeorm: source, entities }, { size }) =>
    source.getRepository(entities.Order).find({
      take: size,
      order: { id: 'ASC' },
      relations: { buyer: true, items: true },
      relationLoadStrategy: 'join',
    }),
  'relations by queries that follow the list': ({ typeorm: source, entities }, { size }) =>
    source.getRepository(entities.Order).find({
      take: size,
      order: { id: 'ASC' },
      relations: { buyer: true, items: true },
      relationLoadStrategy: 'query',
    }),
  'relations by queries, one order': ({ typeorm: source, entities, id }) =>
    source.getRepository(entities.Order).findOne({
      where: { id: id('orders', 5) },
      relations: { buyer: true, items: true },
      relationLoadStrategy: 'query',
    }),
  'counts by status': async ({ typeorm: source, entities }, { size }) => {
    const orders = source.getRepository(entities.Order);
    await orders.find({ take: size });
    for (const status of ['open', 'paid', 'sent', 'closed']) await orders.countBy({ status });
  },
  pages: async ({ typeorm: source, entities }, { size }) => {
    for (let page = 0; page < 4; page++)
      await source
        .getRepository(entities.Order)
        .find({ take: size, skip: page * size, order: { id: 'ASC' } });
  },
});

const drizzle = innocent('ORMs', 'Drizzle', {
  inArray: async ({ drizzle: db, tables: { orders, items } }, { size }) => {
    const found = await db.select().from(orders).orderBy(orders.id).limit(size);
    for (const some of chunks(found, 5))
      await db
        .select()
        .from(items)
        .where(
          inArray(
            items.orderId,
            some.map(({ id }) => id!),
          ),
        );
  },
  'a join': ({ drizzle: db, tables: { orders, items } }, { size }) =>
    db.select().from(orders).leftJoin(items, eq(items.orderId, orders.id)).limit(size),
  'four fixed products': async ({ drizzle: db, tables: { orders, products }, id }, { size }) => {
    await db.select().from(orders).orderBy(orders.id).limit(size);
    for (const n of [1, 2, 3, 4])
      await db
        .select()
        .from(products)
        .where(eq(products.id, id('products', n)));
  },
});

const builders = [
  ...innocent('ORMs', 'Kysely', {
    'a list and IN': async ({ kysely: db }, { size }) => {
      const orders = await db
        .selectFrom('orders')
        .selectAll()
        .orderBy('id')
        .limit(size + 1)
        .execute();
      for (const some of chunks(orders, 4))
        await db
          .selectFrom('order_items')
          .selectAll()
          .where(
            'order_id',
            'in',
            some.map(({ id }) => id),
          )
          .execute();
    },
    'counts by status': async ({ kysely: db }, { size }) => {
      await db.selectFrom('orders').select(['id', 'status']).limit(size).execute();
      for (const status of ['open', 'paid', 'sent', 'closed'])
        await db
          .selectFrom('orders')
          .select(({ fn }) => fn.countAll().as('n'))
          .where('status', '=', status)
          .execute();
    },
  }),
  ...innocent('ORMs', 'Knex', {
    'whereIn in chunks': async ({ knex: db }, { size }) => {
      const orders: { id: number }[] = await db('orders')
        .select('id')
        .orderBy('id')
        .limit(size * 2);
      for (const some of chunks(orders, 4))
        await db('order_items').whereIn(
          'order_id',
          some.map(({ id }) => id),
        );
    },
    batchInsert: async ({ knex: db }, { size }) => {
      const orders: { id: number }[] = await db('orders')
        .select('id')
        .orderBy('id')
        .limit(size * 2);
      await db.batchInsert(
        'exports',
        orders.map(({ id }) => ({ order_id: id, format: 'csv' })),
        4,
      );
    },
  }),
  ...innocent('ORMs', 'Sequelize', {
    include: ({ sequelize: { Order } }, { size }) =>
      Order.findAll({ limit: size, order: ['id'], include: ['Items', 'Buyer'] }),
    'include by queries of its own': ({ sequelize: { Order } }, { size }) =>
      Order.findAll({
        limit: size,
        order: ['id'],
        include: [{ association: 'Items', separate: true }, { association: 'Buyer' }],
      }),
  }),
  ...innocent('ORMs', 'MikroORM', {
    populate: ({ mikro: fork }, { size }) =>
      fork().find(MikroOrder, {}, { limit: size, orderBy: { id: 'asc' }, populate: ['items', 'buyer'] }),
    'populate of what is there': async ({ mikro: fork }, { size }) => {
      const manager = fork();
      const orders = await manager.find(MikroOrder, {}, { limit: size, orderBy: { id: 'asc' } });
      await manager.populate(orders, ['buyer', 'items']);
    },
    'the identity map': async ({ mikro: fork, id }) => {
      const manager = fork();
      for (let i = 0; i < 5; i++) await manager.findOne(MikroOrder, { id: id('orders', 3) });
    },
  }),
];

const numbers = ['counted', 'irregular'] as const;
const prisma = innocent('ORMs', 'Prisma', {
  'findUnique, which it batches': {
    ids: numbers,
    run: async ({ prisma: db }, { size }) => {
      const found = await db.order.findMany({ take: size, orderBy: { id: 'asc' } });
      await Promise.all(found.map(({ buyerId }) => db.customer.findUnique({ where: { id: buyerId } })));
    },
  },
  include: {
    ids: numbers,
    run: ({ prisma: db }, { size }) =>
      db.order.findMany({ take: size, orderBy: { id: 'asc' }, include: { items: true, buyer: true } }),
  },
  'counts by status': {
    ids: numbers,
    run: async ({ prisma: db }, { size }) => {
      await db.order.findMany({ take: size, orderBy: { id: 'asc' } });
      for (const status of ['open', 'paid', 'packed', 'sent']) await db.order.count({ where: { status } });
    },
  },
  pages: {
    ids: numbers,
    run: async ({ prisma: db }, { size }) => {
      for (let page = 0; page < 4; page++)
        await db.order.findMany({ take: size, skip: page * size, orderBy: { id: 'asc' } });
    },
  },
});

const mongoose = innocent('ORMs', 'Mongoose', {
  'populate of all': ({ mongoose: { Order } }, { size }) =>
    Order.find()
      .limit(size + 1)
      .populate('buyerId')
      .exec(),
  'four fixed customers': async ({ mongoose: { Order, Customer }, id }, { size }) => {
    await Order.find().limit(size + 1);
    for (const n of [4, 9, 2, 7]) await Customer.findById(id('customers', n));
  },
});

const drivers = [
  ...innocent('drivers', 'mysql2', {
    'IN in chunks': async ({ mysql }, { size }) => {
      const orders = await mysql('SELECT id FROM orders ORDER BY id LIMIT ?', [size * 2]);
      for (const some of chunks(orders, 4))
        await mysql('SELECT * FROM order_items WHERE order_id IN (?)', [some.map(({ id }) => id)]);
    },
    'counts by status': async ({ mysql }, { size }) => {
      await mysql('SELECT id, status FROM orders ORDER BY id LIMIT ?', [size]);
      for (const status of ['open', 'paid', 'packed', 'sent'])
        await mysql('SELECT count(*) AS n FROM orders WHERE status = ?', [status]);
    },
    'four fixed products': async ({ mysql, id }, { size }) => {
      await mysql('SELECT id FROM orders ORDER BY id LIMIT ?', [size]);
      for (const n of [1, 2, 3, 4]) await mysql('SELECT * FROM products WHERE id = ?', [id('products', n)]);
    },
    pages: async ({ mysql }, { size }) => {
      for (let page = 0; page < 4; page++)
        await mysql('SELECT id FROM orders ORDER BY id LIMIT ? OFFSET ?', [size, page * size]);
    },
  }),
  ...innocent('drivers', 'mariadb', {
    'written as a batch': async ({ mariadb: pool }, { size }) => {
      const orders = await pool.query<Row[]>('SELECT id FROM orders ORDER BY id LIMIT ?', [size + 1]);
      await pool.batch(
        'INSERT INTO exports (order_id, format) VALUES (?, ?)',
        orders.map(({ id }) => [id, 'csv']),
      );
    },
    'what the user may do': async ({ mariadb: pool, id }) => {
      await pool.query('SELECT id, action FROM permissions WHERE user_id = ?', [id('users', 1)]);
      for (const action of ['read', 'write', 'delete', 'approve'])
        await pool.query('SELECT 1 FROM permissions WHERE action = ? AND user_id = ?', [
          action,
          id('users', 1),
        ]);
    },
    polled: async ({ mariadb: pool, id }, { size }) => {
      await pool.query('SELECT id FROM orders ORDER BY id LIMIT ?', [size]);
      for (let i = 0; i < size; i++)
        await pool.query('SELECT status FROM orders WHERE id = ?', [id('orders', 3)]);
    },
  }),
  ...innocent('drivers', 'postgres', {
    'in for all': async ({ sql }, { size }) => {
      const orders = await sql`SELECT id FROM orders ORDER BY id LIMIT ${size + 1}`;
      await sql`SELECT * FROM order_items WHERE order_id IN ${sql(orders.map(({ id }) => id as string))}`;
    },
    'five audit lines': async ({ sql }, { size }) => {
      await sql`SELECT id FROM orders ORDER BY id LIMIT ${size}`;
      for (const message of ['asked', 'allowed', 'loaded', 'formatted', 'answered'])
        await sql`INSERT INTO audit_log (message) VALUES (${message})`;
    },
  }),
  ...innocent('drivers', 'better-sqlite3', {
    'counts by status': async ({ sqlite: db }, { size }) => {
      db.prepare('SELECT id, status FROM orders ORDER BY id LIMIT ?').all(size);
      for (const status of ['open', 'paid', 'packed', 'sent'])
        db.prepare('SELECT count(*) AS n FROM orders WHERE status = ?').get(status);
    },
  }),
  ...innocent('drivers', 'mongodb', {
    '$in for all': async ({ mongo }, { size }) => {
      const orders = await mongo
        .collection('orders')
        .find()
        .limit(size + 1)
        .toArray();
      await mongo
        .collection('items')
        .find({ orderId: { $in: orders.map(({ _id }) => _id) } })
        .toArray();
    },
    'batches of its own cursor': async ({ mongo }, { size }) => {
      await mongo
        .collection('customers')
        .find()
        .limit(size + 1)
        .toArray();
      return mongo.collection('items').find().batchSize(10).toArray();
    },
  }),
];

export const innocentOrms = [...typeorm, ...drizzle, ...builders, ...prisma, ...drivers, ...mongoose];
