import { eq } from 'drizzle-orm';
import { MikroCustomer, MikroItem, MikroOrder } from './models';
import { each, guilty, nPlusOne } from './labelled-handler';

const LIST = 'SELECT id, buyer_id FROM orders ORDER BY id LIMIT $1';
const itemsOfOrders = [nPlusOne('order_items', 'orders.id')];
const buyersOfOrders = [nPlusOne('customers', 'orders.buyer_id')];

const typeorm = guilty('ORMs', 'TypeORM', {
  'lazy items': {
    repeats: itemsOfOrders,
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source.getRepository(entities.Order).find({ take: size, order: { id: 'ASC' } });
      for (const order of orders) await order.items;
    },
  },
  'lazy buyers, all at once': {
    // Its lazy loader joins the owner: by the id of the order.
    repeats: [nPlusOne('customers', 'orders.buyer_id or orders.id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source.getRepository(entities.Order).find({ take: size, order: { id: 'ASC' } });
      await Promise.all(orders.map(order => order.buyer));
    },
  },
  'lazy products of lazy items': {
    repeats: [
      ...itemsOfOrders,
      nPlusOne(
        'products',
        'order_items.product_id or order_items.id or order_items.items_product_id or order_items.items_id',
      ),
    ],
    run: async ({ typeorm: source, entities }, { size }) => {
      for (const order of await source
        .getRepository(entities.Order)
        .find({ take: size, order: { id: 'ASC' } }))
        for (const item of await order.items) await item.product;
    },
  },
  'findOneBy in a loop': {
    repeats: buyersOfOrders,
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source.getRepository(entities.Order).find({ take: size, order: { id: 'ASC' } });
      await each(orders, order => source.getRepository(entities.Customer).findOneBy({ id: order.buyer_id }));
    },
  },
  'countBy in a loop': {
    repeats: itemsOfOrders,
    run: async ({ typeorm: source, entities }, { size }) =>
      each(await source.query<{ id: number }[]>(LIST, [size]), ({ id }) =>
        source.getRepository(entities.Item).countBy({ order_id: id }),
      ),
  },
  'a loop after eager relations': {
    repeats: [nPlusOne('payments', 'orders.id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source
        .getRepository(entities.EagerOrder)
        .find({ take: size, order: { id: 'ASC' } });
      await each(orders, ({ id }) => source.getRepository(entities.Payment).findBy({ order_id: id }));
    },
  },
  'a loop after relations by queries that follow the list': {
    repeats: [nPlusOne('payments', 'orders.id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source.getRepository(entities.Order).find({
        take: size,
        order: { id: 'ASC' },
        relations: { buyer: true, items: true },
        relationLoadStrategy: 'query',
      });
      await each(orders, ({ id }) => source.getRepository(entities.Payment).findBy({ order_id: id }));
    },
  },
  'products of a join': {
    repeats: [nPlusOne('products', 'orders.product_id or order_items.product_id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source
        .getRepository(entities.Order)
        .createQueryBuilder('o')
        .innerJoinAndMapMany('o.lines', 'Item', 'i', 'i.order_id = o.id')
        .where('o.status IN (:...wanted)', { wanted: ['paid', 'packed', 'sent'] })
        .orderBy('o.id')
        .take(size)
        .getMany();
      for (const order of orders as unknown as { lines: { product_id: number }[] }[]) {
        for (const line of order.lines)
          await source.getRepository(entities.Product).findOneBy({ id: line.product_id });
      }
    },
  },
  'save of a list, which is read again': {
    repeats: [nPlusOne('payments', 'payments.id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const payments = source.getRepository(entities.Payment);
      const list = await payments.find({ take: size, order: { id: 'ASC' } });
      for (const payment of list) payment.amount += 1;
      await payments.save(list);
    },
  },
  'findOneBy of what exists': {
    repeats: [nPlusOne('customers', 'orders.buyer_id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const orders = await source.getRepository(entities.Order).find({ take: size, order: { id: 'ASC' } });
      const customers = source.getRepository(entities.Customer);
      for (const { buyer_id: id } of orders)
        if (await customers.existsBy({ id })) await customers.findOneBy({ id });
    },
  },
  'save in a loop': {
    repeats: [nPlusOne('payments', 'payments.id')],
    run: async ({ typeorm: source, entities }, { size }) => {
      const payments = source.getRepository(entities.Payment);
      for (const payment of await payments.find({ take: size, order: { id: 'ASC' } })) {
        payment.amount += 1;
        await payments.save(payment);
      }
    },
  },
});

const drizzle = guilty('ORMs', 'Drizzle', {
  'items in a loop': {
    repeats: itemsOfOrders,
    run: async ({ drizzle: db, tables: { orders, items } }, { size }) => {
      for (const { id } of await db.select().from(orders).orderBy(orders.id).limit(size))
        await db.select().from(items).where(eq(items.orderId, id!));
    },
  },
  'buyers, all at once': {
    repeats: buyersOfOrders,
    run: async ({ drizzle: db, tables: { orders, customers } }, { size }) => {
      const found = await db.select().from(orders).orderBy(orders.id).limit(size);
      await Promise.all(
        found.map(({ buyerId }) => db.select().from(customers).where(eq(customers.id, buyerId!))),
      );
    },
  },
  'updates in a transaction': {
    repeats: [nPlusOne('shipments', 'orders.id')],
    run: ({ drizzle: db, tables: { orders, shipments } }, { size }) =>
      db.transaction(async inside => {
        for (const { id } of await inside
          .select({ id: orders.id })
          .from(orders)
          .orderBy(orders.id)
          .limit(size))
          await inside.update(shipments).set({ carrier: 'post' }).where(eq(shipments.orderId, id!));
      }),
  },
});

const kysely = guilty('ORMs', 'Kysely', {
  'items in a loop': {
    repeats: itemsOfOrders,
    run: async ({ kysely: db }, { size }) => {
      const orders = await db
        .selectFrom('orders')
        .select(['id', 'status'])
        .orderBy('id')
        .limit(size)
        .execute();
      await each(orders, ({ id }) =>
        db.selectFrom('order_items').selectAll().where('order_id', '=', id).execute(),
      );
    },
  },
  'products of a join': {
    repeats: [nPlusOne('products', 'orders.product_id or order_items.product_id')],
    run: async ({ kysely: db }, { size }) => {
      const lines = await db
        .selectFrom('orders as o')
        .innerJoin('order_items as i', 'i.order_id', 'o.id')
        .select(['o.id', 'o.status', 'i.product_id'])
        .orderBy('i.id')
        .limit(size)
        .execute();
      await each(lines, ({ product_id }) =>
        db.selectFrom('products').select('name').where('id', '=', product_id).executeTakeFirst(),
      );
    },
  },
  'inserts in a loop': {
    repeats: [nPlusOne('exports', 'orders.id')],
    run: async ({ kysely: db }, { size }) => {
      const orders = await db.selectFrom('orders').selectAll().orderBy('id').limit(size).execute();
      await each(orders, ({ id }) =>
        db.insertInto('exports').values({ order_id: id, format: 'csv' }).execute(),
      );
    },
  },
});

const knex = guilty('ORMs', 'Knex', {
  'first in a loop': {
    repeats: buyersOfOrders,
    run: async ({ knex: db }, { size }) => {
      const orders = await db('orders').select('id', 'buyer_id').orderBy('id').limit(size);
      await each(orders as { buyer_id: number }[], async order =>
        db('customers').where({ id: order.buyer_id }).first(),
      );
    },
  },
  'a count in a loop': {
    repeats: itemsOfOrders,
    run: async ({ knex: db }, { size }) => {
      const orders = await db('orders').select('*').orderBy('id').limit(size);
      await each(orders as { id: number }[], async ({ id }) =>
        db('order_items').where('order_id', id).count({ n: '*' }),
      );
    },
  },
});

const sequelize = guilty('ORMs', 'Sequelize', {
  'getItems in a loop': {
    repeats: itemsOfOrders,
    run: async ({ sequelize: { Order } }, { size }) =>
      each(await Order.findAll({ limit: size, order: ['id'] }), order => order.getItems()),
  },
  'getBuyer, all at once': {
    repeats: buyersOfOrders,
    run: async ({ sequelize: { Order } }, { size }) => {
      const orders = await Order.findAll({ limit: size, order: ['id'] });
      await Promise.all(orders.map(order => order.getBuyer()));
    },
  },
  'findByPk of each included item': {
    repeats: [nPlusOne('products', 'orders.product_id or order_items.product_id')],
    run: async ({ sequelize: { Order, Product } }, { size }) => {
      const orders = await Order.findAll({ limit: size, order: ['id'], include: ['Items'] });
      for (const order of orders as unknown as { Items: { product_id: number }[] }[]) {
        for (const item of order.Items) await Product.findByPk(item.product_id);
      }
    },
  },
});

const mikro = guilty('ORMs', 'MikroORM', {
  'collections in a loop': {
    repeats: itemsOfOrders,
    run: async ({ mikro: fork }, { size }) => {
      const orders = await fork().find(MikroOrder, {}, { limit: size, orderBy: { id: 'asc' } });
      await each(orders, order => order.items.init());
    },
  },
  'references in a loop': {
    repeats: buyersOfOrders,
    run: async ({ mikro: fork }, { size }) => {
      const orders = await fork().find(MikroOrder, {}, { limit: size, orderBy: { id: 'asc' } });
      await each(orders, order => order.buyer.load());
    },
  },
  'findOne of another manager': {
    repeats: buyersOfOrders,
    run: async ({ mikro: fork }, { size }) => {
      const orders = await fork().find(MikroOrder, {}, { limit: size, orderBy: { id: 'asc' } });
      await each(orders, order => fork().findOne(MikroCustomer, { id: order.buyer.id }));
    },
  },
  'a count in a loop': {
    repeats: itemsOfOrders,
    run: async ({ mikro: fork }, { size }) => {
      const manager = fork();
      const orders = await manager.find(MikroOrder, {}, { limit: size, orderBy: { id: 'asc' } });
      await each(orders, order => manager.count(MikroItem, { order: order.id }));
    },
  },
});

// Its client has the type of the ids in it.
const numbers = ['counted', 'irregular'] as const;
const prisma = guilty('ORMs', 'Prisma', {
  'findMany in a loop': {
    ids: numbers,
    repeats: itemsOfOrders,
    run: async ({ prisma: db }, { size }) => {
      for (const { id } of await db.order.findMany({ take: size, orderBy: { id: 'asc' } }))
        await db.orderItem.findMany({ where: { orderId: id } });
    },
  },
  'findFirst, all at once': {
    ids: numbers,
    repeats: buyersOfOrders,
    run: async ({ prisma: db }, { size }) => {
      const found = await db.order.findMany({ take: size, orderBy: { id: 'asc' } });
      await Promise.all(found.map(({ buyerId }) => db.customer.findFirst({ where: { id: buyerId } })));
    },
  },
  'a count in a loop': {
    ids: numbers,
    repeats: itemsOfOrders,
    run: async ({ prisma: db }, { size }) => {
      for (const { id } of await db.order.findMany({ take: size, orderBy: { id: 'asc' } }))
        await db.orderItem.count({ where: { orderId: id } });
    },
  },
  'findUnique, one after the other, of included items': {
    ids: numbers,
    repeats: [nPlusOne('products', 'order_items.product_id')],
    run: async ({ prisma: db }, { size }) => {
      for (const { items } of await db.order.findMany({
        take: size,
        orderBy: { id: 'asc' },
        include: { items: true },
      }))
        for (const item of items) await db.product.findUnique({ where: { id: item.productId } });
    },
  },
});

const mongoose = guilty('ORMs', 'Mongoose', {
  'findById in a loop': {
    repeats: [nPlusOne('customers', 'orders.buyerId')],
    run: async ({ mongoose: { Order, Customer } }, { size }) =>
      each(await Order.find().limit(size), order => Customer.findById(order.buyerId).exec()),
  },
  'find for each lean document': {
    repeats: [nPlusOne('items', 'orders._id')],
    run: async ({ mongoose: { Order, Item } }, { size }) =>
      each(await Order.find().limit(size).lean(), ({ _id }) => Item.find({ orderId: _id }).lean().exec()),
  },
  'populate of each document': {
    repeats: [nPlusOne('customers', 'orders.buyerId')],
    run: async ({ mongoose: { Order } }, { size }) =>
      each(await Order.find().limit(size), order => order.populate('buyerId')),
  },
});

export const guiltyOrms = [
  ...typeorm,
  ...drizzle,
  ...kysely,
  ...knex,
  ...sequelize,
  ...mikro,
  ...prisma,
  ...mongoose,
];
