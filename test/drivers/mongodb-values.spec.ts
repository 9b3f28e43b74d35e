import { BSON, Binary, type Collection, type Document, Long, MongoClient, ObjectId } from 'mongodb';
import mongoose, { Schema } from 'mongoose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mongodbInstrumentation } from '../../lib/drivers/mongodb/mongodb.driver';
import { short } from '../cost/evidence/unit-of-work';
import { type MongoServer, startMongoServer } from '../support/mongo-server';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

const COUNT = 30;
const KINDS: Readonly<Record<string, (n: number, table: number) => unknown>> = {
  ObjectIds: (n, table) => new ObjectId(hex(n, table).padStart(24, '5')),
  'UUIDs as binary': (n, table) =>
    new Binary(Buffer.from(hex(n, table).padStart(32, '7'), 'hex'), Binary.SUBTYPE_UUID),
  'irregular numbers': (n, table) => 10_000 + ((n * 7_919 + n * n * 613 + table * 31_337) % 89_989),
  'long numbers': (n, table) => Long.fromBigInt(7_000_000_000n + BigInt(n * n * 977 + table * 7)),
  texts: (n, table) => `of-${table}-${(n * 7_919) % 10_007}`,
};
const instrumentations = [mongodbInstrumentation()];
let server: MongoServer;
let test: TestApp;
let client: MongoClient;

function hex(n: number, table: number): string {
  return ((n * 48_271 + table * 1_000_003) % 2_147_483_647).toString(16);
}

beforeAll(async () => {
  server = await startMongoServer();
  test = await startApp({ instrumentations });
  client = await MongoClient.connect(server.url);
});
afterAll(async () => {
  await client.close();
  await test.close();
  await server.close();
});

async function foundBy(work: () => Promise<unknown>): Promise<string[]> {
  const { findings = [] } = await recordOfUnit(test, work);
  return findings.filter(({ kind }) => kind === 'n-plus-one' || kind === 'look-ups').map(short);
}

async function each<T>(list: Iterable<T> | AsyncIterable<T>, work: (one: T) => unknown): Promise<void> {
  for await (const one of list) await work(one);
}

describe.each(Object.entries(KINDS))('%s', (kind, id) => {
  let orders: Collection;
  let customers: Collection;
  let items: Collection;
  const name = (table: string): string => `${table}_${Object.keys(KINDS).indexOf(kind)}`;

  beforeAll(async () => {
    const db = client.db();
    [orders, customers, items] = ['orders', 'customers', 'items'].map(of => db.collection(name(of))) as [
      Collection,
      Collection,
      Collection,
    ];
    const range = Array.from({ length: COUNT }, (_, n) => n);
    await orders.insertMany(
      range.map(n => ({
        _id: id(n, 1) as ObjectId,
        buyerId: id((n * 7) % 29, 2),
        status: n % 2 === 0 ? 'open' : 'paid',
        gift: n % 3 === 0,
        lines: [{ productId: id((n * 11) % 27, 4) }],
        note: null,
      })),
    );
    await customers.insertMany(range.map(n => ({ _id: id(n, 2) as ObjectId, name: `customer ${n}` })));
    await items.insertMany(
      range.map(n => ({ _id: id(n, 3) as ObjectId, orderId: id(n, 1), productId: id(n, 4) })),
    );
  });

  const list = (): Promise<Document[]> => orders.find().limit(8).toArray();
  const buyerOf = (order: Document): Promise<unknown> =>
    customers.findOne({ _id: order['buyerId'] as ObjectId });

  it.each<[string, () => Promise<unknown>]>([
    ['toArray()', async () => each(await list(), buyerOf)],
    ['all at once', async () => Promise.all((await list()).map(buyerOf))],
    ['for await', () => each(orders.find().limit(8), buyerOf)],
    [
      'forEach()',
      () =>
        orders
          .find()
          .limit(8)
          .forEach(order => void buyerOf(order)),
    ],
    ['stream()', () => each<Document>(orders.find().limit(8).stream(), buyerOf)],
    [
      'next()',
      async () => {
        const cursor = orders.find().limit(8);
        for (let order = await cursor.next(); order !== null; order = await cursor.next())
          await buyerOf(order);
      },
    ],
    ['aggregate()', async () => each(await orders.aggregate([{ $limit: 8 }]).toArray(), buyerOf)],
    [
      'distinct()',
      async () => each((await orders.distinct('buyerId')).slice(0, 20), buyerId => buyerOf({ buyerId })),
    ],
    [
      'map()',
      async () =>
        each(
          await orders
            .find()
            .limit(8)
            .map(order => ({ ...order }))
            .toArray(),
          buyerOf,
        ),
    ],
    [
      'raw documents',
      async () =>
        each(await orders.find({}, { raw: true }).limit(8).toArray(), bytes =>
          buyerOf(BSON.deserialize(bytes as unknown as Uint8Array)),
        ),
    ],
    [
      'values that are not promoted',
      async () =>
        each(await orders.find({}, { promoteValues: false }).limit(8).toArray(), order => buyerOf(order)),
    ],
    [
      'command()',
      async () => {
        const answer = await client.db().command({ find: name('orders'), filter: {}, limit: 8 });
        await each((answer['cursor'] as { firstBatch: Document[] }).firstBatch, buyerOf);
      },
    ],
  ])('are followed from the documents of %s', async (_, work) => {
    const lines = (await foundBy(work)).filter(line => line.includes(name('customers')));
    expect(lines).toEqual([`proven ${name('customers')} < ${name('orders')}.buyerId`]);
  });

  it.each<[string, (order: Document) => Promise<unknown>]>([
    ['find()', ({ _id }) => items.find({ orderId: _id }).toArray()],
    ['$eq', ({ _id }) => items.findOne({ orderId: { $eq: _id } })],
    ['$in with one', ({ _id }) => items.findOne({ orderId: { $in: [_id] } })],
    ['$and', ({ _id }) => items.findOne({ $and: [{ orderId: _id }, { n: { $gt: 1 } }] })],
    ['$or of two fields', ({ _id }) => items.findOne({ $or: [{ orderId: _id }, { formerId: _id }] })],
    ['$elemMatch', ({ _id }) => items.findOne({ refs: { $elemMatch: { orderId: _id } } })],
    ['several fields', ({ _id }) => items.findOne({ n: 1, orderId: _id, m: 'x' })],
    ['aggregate()', ({ _id }) => items.aggregate([{ $match: { orderId: _id } }, { $limit: 1 }]).toArray()],
    ['countDocuments()', ({ _id }) => items.countDocuments({ orderId: _id })],
    ['count()', ({ _id }) => client.db().command({ count: name('items'), query: { orderId: _id } })],
    ['distinct()', ({ _id }) => items.distinct('productId', { orderId: _id })],
    ['updateOne()', ({ _id }) => items.updateOne({ orderId: _id }, { $set: { seen: 1 } })],
    ['findOneAndUpdate()', ({ _id }) => items.findOneAndUpdate({ orderId: _id }, { $set: { seen: 1 } })],
    ['deleteMany()', ({ _id }) => items.deleteMany({ orderId: _id, n: 77 })],
    ['insertOne()', ({ _id }) => items.insertOne({ orderId: _id, note: 'x' })],
    [
      'bulkWrite() of one',
      ({ _id }) => items.bulkWrite([{ updateOne: { filter: { orderId: _id }, update: { $set: { n: 2 } } } }]),
    ],
  ])('are followed to what is asked for by %s', async (_, work) => {
    expect(await foundBy(async () => each(await list(), work))).toEqual([
      `proven ${name('items')} < ${name('orders')}._id`,
    ]);
  });

  it('are those of the list, where each document leads to one more', async () => {
    const found = await foundBy(async () => {
      for (const { _id } of await list()) {
        await buyerOf((await orders.findOneAndUpdate({ _id }, { $set: { seen: 1 } })) as Document);
      }
    });
    expect(found.toSorted()).toEqual([
      `proven ${name('customers')} < ${name('orders')}.buyerId`,
      `proven ${name('orders')} < ${name('orders')}._id`,
    ]);
  });

  it('are followed through the batches of a cursor, which is none itself', async () => {
    const found = await foundBy(() => each(orders.find().batchSize(10), buyerOf));
    expect(found).toEqual([
      expect.stringContaining(`proven ${name('customers')} < ${name('orders')}.buyerId`),
    ]);
  });

  it('are followed from a list within documents', async () => {
    const products = client.db().collection(name('products'));
    const found = await foundBy(async () => {
      for (const order of await list()) {
        for (const { productId } of order['lines'] as Document[])
          await products.findOne({ _id: productId as ObjectId });
      }
    });
    expect(found).toEqual([`proven ${name('products')} < ${name('orders')}.lines.productId`]);
  });

  it.each<[string, () => Promise<unknown>]>([
    [
      '$in',
      async () => {
        const orderIds = (await list()).map(({ _id }) => _id as unknown);
        for (let i = 0; i < 8; i += 2)
          await items.find({ orderId: { $in: orderIds.slice(i, i + 2) } }).toArray();
      },
    ],
    [
      '$or',
      async () => {
        const all = await list();
        for (let i = 0; i < 8; i += 2) {
          await items.find({ $or: all.slice(i, i + 2).map(({ _id }) => ({ orderId: _id })) }).toArray();
        }
      },
    ],
    [
      'insertMany()',
      async () => {
        const all = await list();
        for (let i = 0; i < 8; i += 2)
          await items.insertMany(all.slice(i, i + 2).map(({ _id }) => ({ orderId: _id })));
      },
    ],
    ['the batches of a cursor', async () => each(orders.find().batchSize(4), () => undefined)],
  ])('that are asked for several at a time are none: %s', async (_, work) => {
    expect(await foundBy(work)).toEqual([]);
  });

  it('are none of one database each', async () => {
    const tenants = await list();
    const found = await foundBy(async () =>
      each(await list(), ({ _id }) =>
        client
          .db(`tenant_${tenants.findIndex(one => String(one['_id']) === String(_id))}`)
          .collection(name('settings'))
          .findOne({ orderId: _id }),
      ),
    );
    expect(found).toEqual([]);
  });
});

describe('documents', () => {
  const filled = async (name: string, make: (n: number) => Document): Promise<Collection> => {
    const collection = client.db().collection(name);
    await collection.insertMany(Array.from({ length: 250 }, (_, n) => ({ _id: new ObjectId(), ...make(n) })));
    return collection;
  };
  const number = (n: number): number => 10_000 + ((n * 7_919 + n * n * 613) % 89_989);

  it('of more than one megabyte are followed by their keys', async () => {
    const files = await filled('files', n => ({ body: 'x'.repeat(9_000), ownerId: number(n) }));
    const owners = client.db().collection('owners');
    const found = await foundBy(async () =>
      each(await files.find().limit(150).toArray(), ({ ownerId }) =>
        owners.findOne({ _id: ownerId as ObjectId }),
      ),
    );
    expect(found).toEqual(['proven owners < files.ownerId']);
  });

  it('that have a field each are followed, and fields that are named after data are not told', async () => {
    const prices = await filled('prices', n => ({
      [`SECRET@example.com`]: number(n),
      ...(n % 2 === 0 ? { shopId: number(n) } : { gone: true }),
    }));
    const shops = client.db().collection('shops');
    const record = await recordOfUnit(test, async () =>
      each(await prices.find().limit(12).toArray(), price =>
        shops.findOne({ _id: price['SECRET@example.com'] as ObjectId }),
      ),
    );
    expect(JSON.stringify(record)).not.toContain('SECRET');
    const found = await foundBy(async () =>
      each(
        await prices.find().limit(20).toArray(),
        ({ shopId }) => shopId && shops.findOne({ _id: shopId as ObjectId }),
      ),
    );
    expect(found).toEqual(['proven shops < prices.shopId']);
  });

  it('of no result, and what fails, lead to nothing', async () => {
    const nothing = client.db().collection('nothing');
    const found = await foundBy(async () => {
      await nothing.find().toArray();
      await nothing
        .find({ $fail: 1 } as never)
        .toArray()
        .catch(() => undefined);
      for (let n = 0; n < 6; n++) await nothing.findOne({ state: `s${n}` });
    });
    expect(found.filter(line => line.startsWith('proven'))).toEqual([]);
  });

  it('are what the bare driver gives', async () => {
    const all = await filled('kinds', n => ({
      double: n + 0.5,
      text: 'ä'.repeat(n),
      list: [1, [2, { three: 3 }]],
      bytes: Buffer.from([1, 2, 3]),
      id: new ObjectId(),
      yes: true,
      when: new Date(n * 1_000),
      nothing: null,
      pattern: /a+/i,
      code: new BSON.Code('x', { y: 1 }),
      symbol: new BSON.BSONSymbol('s'),
      int: n,
      stamp: new BSON.Timestamp({ t: n, i: 1 }),
      long: Long.fromBigInt(9_007_199_254_740_993n),
      decimal: BSON.Decimal128.fromString('1.50'),
      least: new BSON.MinKey(),
      most: new BSON.MaxKey(),
      uuid: new BSON.UUID(),
      ref: new BSON.DBRef('orders', new ObjectId()),
      owner: number(n),
    }));
    const read = async (): Promise<string> => {
      const found: unknown[] = [await all.find().limit(9).toArray(), await all.distinct('id')];
      await each(all.find().batchSize(5).limit(12), one => found.push(one));
      for (const { owner } of await all.find().limit(6).toArray()) found.push(await all.findOne({ owner }));
      return BSON.EJSON.stringify(found);
    };
    let counted = '';
    const found = await foundBy(async () => {
      counted = await read();
    });
    expect(counted).toBe(await read());
    expect(found).toEqual(['proven kinds < kinds.owner']);
  });
});

describe('Mongoose', () => {
  const connection = mongoose.createConnection();
  const Customer = connection.model('Customer', new Schema({ name: String }), 'people');
  const Order = connection.model(
    'Order',
    new Schema({
      buyerId: { type: Schema.Types.ObjectId, ref: 'Customer' },
      lines: [{ productId: Schema.Types.ObjectId }],
    }),
    'purchases',
  );
  const Product = connection.model('Product', new Schema({ name: String }), 'products');

  beforeAll(async () => {
    await connection.openUri(server.url, { autoIndex: false, autoCreate: false });
    const people = await Customer.insertMany(
      Array.from({ length: 12 }, (_, n) => ({ name: `customer ${n}` })),
    );
    const products = await Product.insertMany(
      Array.from({ length: 12 }, (_, n) => ({ name: `product ${n}` })),
    );
    await Order.insertMany(
      people.map(({ _id }, n) => ({ buyerId: _id, lines: [{ productId: products[(n * 5) % 12]!._id }] })),
    );
  });
  afterAll(() => connection.close());

  it.each<[string, () => Promise<unknown>, string]>([
    [
      'findById()',
      async () => each(await Order.find().limit(8), ({ buyerId }) => Customer.findById(buyerId).exec()),
      'proven people < purchases.buyerId',
    ],
    [
      'findById() with a text',
      async () =>
        each(await Order.find().limit(8), ({ buyerId }) => Customer.findById(String(buyerId)).exec()),
      'proven people < purchases.buyerId',
    ],
    [
      'lean()',
      async () =>
        each(await Order.find().limit(8).lean(), ({ buyerId }) =>
          Customer.findOne({ _id: buyerId }).lean().exec(),
        ),
      'proven people < purchases.buyerId',
    ],
    [
      'populate() of each',
      async () => each(await Order.find().limit(8), order => order.populate('buyerId')),
      'proven people < purchases.buyerId',
    ],
    [
      'a cursor',
      () => each(Order.find().limit(8).cursor(), ({ buyerId }) => Customer.findById(buyerId).exec()),
      'proven people < purchases.buyerId',
    ],
    [
      'a list within documents',
      async () =>
        each(await Order.find().limit(8), ({ lines }) =>
          each(lines, ({ productId }) => Product.findById(productId).exec()),
        ),
      'proven products < purchases.lines.productId',
    ],
    [
      'updateOne() of each',
      async () =>
        each(await Order.find().limit(8), ({ _id }) =>
          Product.updateOne({ order: _id }, { name: 'x' }).exec(),
        ),
      'proven products < purchases._id',
    ],
  ])('has its N+1 named: %s', async (_, work, expected) => {
    expect(await foundBy(work)).toEqual([expected]);
  });

  it('has none in populate() of all', async () => {
    expect(await foundBy(() => Order.find().populate('buyerId').exec())).toEqual([]);
  });
});
