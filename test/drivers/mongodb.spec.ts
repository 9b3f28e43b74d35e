import { Controller, Get, Query } from '@nestjs/common';
import { type Collection, MongoClient } from 'mongodb';
import mongoose, { Schema } from 'mongoose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { mongodbInstrumentation } from '../../lib/drivers/mongodb/mongodb.driver';
import { type MongoServer, startMongoServer } from '../support/mongo-server';
import { platforms, startApp, type TestApp } from '../support/platforms';
import { costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

interface Order {
  _id: number;
  status: string;
  n?: number;
}

const instrumentations = [mongodbInstrumentation()];
let server: MongoServer;
let test: TestApp;
let client: MongoClient;
let orders: Collection<Order>;

beforeAll(async () => {
  server = await startMongoServer();
  test = await startApp({ instrumentations });
  client = await MongoClient.connect(server.url, { maxPoolSize: 2 });
  orders = client.db().collection<Order>('orders');
  await orders.insertMany(
    Array.from({ length: 10 }, (_, i) => ({ _id: i + 1, status: i < 5 ? 'open' : 'paid' })),
  );
});
afterAll(async () => {
  await client.close();
  await test.close();
  await server.close();
});

describe('a command of mongodb', () => {
  it.each<[string, () => unknown, Partial<StatementCost>]>([
    ['find', () => orders.find({ status: 'open' }).toArray(), { rows: 5, shape: 'find orders {status: ?}' }],
    [
      'find with an operator',
      () => orders.find({ _id: { $gt: 8 }, status: { $in: ['paid', 'open'] } }).toArray(),
      { rows: 2, shape: 'find orders {_id: {$gt: ?}, status: {$in: ?}}' },
    ],
    [
      'find by command()',
      () => client.db().command({ find: 'orders', filter: { status: 'open' } }),
      { rows: 5, shape: 'find orders {status: ?}' },
    ],
    ['findOne', () => orders.findOne({ _id: 1 }), { rows: 1, shape: 'find orders {_id: ?}' }],
    ['find of nothing', () => orders.findOne({ _id: 99 }), { rows: 0, shape: 'find orders {_id: ?}' }],
    [
      'batches',
      () => orders.find({}).batchSize(4).toArray(),
      { count: 3, rows: 10, shape: 'getMore orders' },
    ],
    [
      'aggregate',
      () => orders.aggregate([{ $match: { status: 'open' } }, { $limit: 3 }]).toArray(),
      { rows: 3, shape: 'aggregate orders [$match {status: ?}, $limit]' },
    ],
    [
      'aggregate that writes',
      () => orders.aggregate([{ $match: { status: 'none' } }, { $out: 'copy' }]).toArray(),
      { rows: 0, writes: 1, shape: 'aggregate orders [$match {status: ?}, $out]' },
    ],
    [
      'fields that are made of data',
      () =>
        orders
          .find({
            'prices.SECRET@example.com': 1,
            'items.0.price': 2,
            'by.507f1f77bcf86cd799439011': 3,
          } as object)
          .toArray(),
      { rows: 0, shape: 'find orders {?: ?, items.?.price: ?, by.?: ?}' },
    ],
    [
      'a stage with such fields',
      () => orders.aggregate([{ $match: { 'by.SECRET@example.com': 1 } }]).toArray(),
      { rows: 0, shape: 'aggregate orders [$match {?: ?}]' },
    ],
    ['distinct', () => orders.distinct('status', {}), { rows: 2, shape: 'distinct orders status {}' }],
    [
      'countDocuments',
      () => orders.countDocuments({ status: 'open' }),
      { rows: 1, shape: 'aggregate orders [$match {status: ?}, $group]' },
    ],
    ['estimatedDocumentCount', () => orders.estimatedDocumentCount(), { rows: 1, shape: 'count orders' }],
    [
      'updateMany',
      () => orders.updateMany({ status: 'open' }, { $set: { n: 1 } }),
      { rows: 5, writes: 1, shape: 'update orders {status: ?}' },
    ],
    [
      'findOneAndUpdate',
      () => orders.findOneAndUpdate({ _id: 1 }, { $set: { n: 2 } }),
      { rows: 1, writes: 1, shape: 'findAndModify orders {_id: ?}' },
    ],
    [
      'findOneAndUpdate of nothing',
      () => orders.findOneAndUpdate({ _id: 98 }, { $set: { n: 2 } }),
      { rows: 0, writes: 1, shape: 'findAndModify orders {_id: ?}' },
    ],
    [
      'insertMany',
      () =>
        orders.insertMany([
          { _id: 101, status: 'SECRET' },
          { _id: 102, status: 'SECRET' },
        ]),
      { rows: 2, writes: 1, shape: 'insert orders' },
    ],
    [
      'insert of what is there',
      () => orders.insertOne({ _id: 1, status: 'open' }),
      { rows: 0, writes: 1, errors: 1, shape: 'insert orders' },
    ],
    [
      'bulkWrite',
      () =>
        orders.bulkWrite([
          { updateOne: { filter: { _id: 101 }, update: { $set: { n: 3 } } } },
          { deleteMany: { filter: { _id: { $in: [101, 102] } } } },
        ]),
      { count: 2, rows: 3, writes: 2, shape: 'update orders {_id: ?}' },
    ],
    [
      'an error of the server',
      () => orders.find({ $fail: 1 } as never).toArray(),
      { rows: 0, errors: 1, shape: 'find orders {$fail: ?}' },
    ],
    [
      'a transaction',
      () =>
        client.withSession(session => session.withTransaction(() => orders.findOne({ _id: 1 }, { session }))),
      { transactions: 1, rows: 1, shape: 'find orders {_id: ?}' },
    ],
  ])('is counted: %s', async (what, work, expected) => {
    const cost = await costOf(test, work);
    // Of shapes that ran as often, the slowest comes first.
    if (what === 'batches' || what === 'bulkWrite')
      expect({ ...cost, shape: expected.shape }).toEqual(costs({ table: 'orders', ...expected }));
    else expect(cost).toEqual(costs({ table: 'orders', ...expected }));
  });

  it('leaves no value behind', async () => {
    const record = await recordOfUnit(test, async () => {
      await orders.find({ status: 'SECRET', $or: [{ n: 1 }, { status: 'SECRET' }] }).toArray();
    });
    expect(record.queries.shapes[0]!.shape).toBe('find orders {status: ?, $or: [{n: ?}, {status: ?}]}');
    expect(JSON.stringify(record)).not.toContain('SECRET');
    expect(record.queries.bytes).toBeGreaterThan(0);
  });

  it('is a duplicate when its filter is the same', async () => {
    const { findings } = await recordOfUnit(test, async () => {
      for (const _id of [1, 2, 1]) await orders.findOne({ _id });
    });
    expect(findings).toMatchObject([{ kind: 'duplicate', table: 'orders', duplicates: 1 }]);
  });

  it('is none when it is a batch of a cursor, or another page', async () => {
    const { queries, findings = [] } = await recordOfUnit(test, async () => {
      await orders.find({}).batchSize(2).toArray();
      for (const page of [0, 1, 2]) {
        const found = orders.find({ _id: { $gt: 0 } });
        await found
          .skip(2 * page)
          .limit(2)
          .toArray();
      }
    });
    expect(queries.count).toBeGreaterThanOrEqual(6);
    expect(findings.filter(({ kind }) => kind === 'duplicate')).toEqual([]);
  });

  it('that is kept back by a budget is rejected', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { queries: 1 } });
    await app.app.get(ContextService).run({}, async () => {
      await orders.findOne({ _id: 1 });
      await expect(orders.findOne({ _id: 1 })).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    await app.close();
  });
});

describe('Mongoose', () => {
  const Item = new Schema({ _id: Number, order: Number });
  const OrderSchema = new Schema({ _id: Number, status: String, items: [{ type: Number, ref: 'Item' }] });
  const connection = mongoose.createConnection();
  const Items = connection.model('Item', Item);
  const Orders = connection.model('Shelf', OrderSchema);

  beforeAll(async () => {
    await connection.openUri(server.url, { autoIndex: false, autoCreate: false, maxPoolSize: 2 });
    await Items.insertMany(Array.from({ length: 12 }, (_, i) => ({ _id: i, order: i % 4 })));
    await Orders.insertMany(
      Array.from({ length: 4 }, (_, i) => ({ _id: i, status: 'open', items: [i, i + 4] })),
    );
  });
  afterAll(() => connection.close());

  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'find',
      () => Orders.find({ status: 'open' }),
      { rows: 4, table: 'shelves', shape: 'find shelves {status: ?}' },
    ],
    ['lean', () => Orders.find().lean(), { rows: 4, table: 'shelves', shape: 'find shelves {}' }],
    ['populate', () => Orders.find({ status: 'open' }).populate('items'), { count: 2, rows: 12 }],
    [
      'save',
      () => new Items({ _id: 100, order: 1 }).save(),
      { writes: 1, table: 'items', shape: 'insert items' },
    ],
    ['countDocuments', () => Items.countDocuments({ order: 1 }), { table: 'items' }],
    [
      'deleteOne',
      () => Items.deleteOne({ _id: 100 }),
      { writes: 1, table: 'items', shape: 'delete items {_id: ?}' },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, async () => void (await work()))).toMatchObject({ count: 1, ...expected });
  });

  it('an N+1 is named with its parent', async () => {
    const { findings } = await recordOfUnit(test, async () => {
      for (const order of await Orders.find({ status: 'open' })) await Items.find({ order: order._id });
    });
    expect(findings).toMatchObject([
      { kind: 'n-plus-one', table: 'items', count: 4, parents: [{ table: 'shelves', rows: 4 }] },
    ]);
  });

  it('charges a query that was built elsewhere to who awaits it', async () => {
    let built: PromiseLike<unknown> | undefined;
    const maker = await costOf(test, () => {
      built = Orders.find();
    });
    const awaiter = await costOf(test, async () => void (await built));
    expect([maker.count, awaiter.count]).toEqual([0, 1]);
  });
});

describe.each(platforms)('20 requests at once over a pool of two, on %s', platform => {
  @Controller()
  class WorkController {
    @Get()
    async work(@Query('times') times: string): Promise<void> {
      for (let i = 0; i < Number(times); i++) await orders.find({ _id: i, $sleep: 1 } as never).toArray();
    }
  }

  it('are charged to their own', async () => {
    const app = await startApp({ platform, controllers: [WorkController], instrumentations });
    const made = Array.from({ length: 20 }, (_, i) => 1 + i);
    await Promise.all(made.map(times => fetch(`${app.url}/?times=${times}`)));
    const records = await app.records(20);
    expect(records.map(({ queries }) => queries.count).sort((a, b) => a - b)).toEqual(made);
    await app.close();
  });
});

describe('the pool of mongodb', () => {
  it('is waited for apart, and a wait that is given up is an error of its own request', async () => {
    const small = await MongoClient.connect(server.url, { maxPoolSize: 1, waitQueueTimeoutMS: 50 });
    const sleepy = small.db().collection('orders');
    await sleepy.findOne({});
    const [busy, refused] = await Promise.all([
      recordOfUnit(test, () => sleepy.findOne({ $sleep: 150 } as never)),
      recordOfUnit(test, () => sleepy.findOne({}).catch(() => undefined)),
    ]);
    expect(busy!.queries).toMatchObject({ count: 1, errors: 0 });
    expect(refused!.queries).toMatchObject({ count: 1, errors: 1, durationMs: expect.any(Number) });
    expect(refused!.queries.waitMs).toBeGreaterThan(40);
    await small.close();
  });

  it('whose connections are cut is an error of the request under way, and the process lives', async () => {
    const victim = await MongoClient.connect(server.url, { retryReads: false });
    const record = recordOfUnit(test, () =>
      victim
        .db()
        .collection('orders')
        .findOne({ $sleep: 300 } as never)
        .catch(() => undefined),
    );
    setTimeout(() => server.cut(), 50);
    expect((await record).queries).toMatchObject({ count: 1, errors: 1 });
    await victim.close();
    await orders.findOne({ _id: 1 }).catch(() => undefined);
  });
});

describe('the instrumentation', () => {
  it('gives the results and errors of the bare driver, and is taken back', async () => {
    const calls = [
      () => orders.find({ status: 'open' }).toArray(),
      () => orders.findOne({ _id: 99 }),
      () => orders.insertOne({ _id: 1, status: 'x' }),
      () => orders.find({ $fail: 1 } as never).toArray(),
      () => orders.aggregate([{ $limit: 2 }]).toArray(),
      () => orders.distinct('status'),
      () => orders.countDocuments({}),
      () => client.db().command({ ping: 1 }),
    ];
    const seen = async (): Promise<string[]> =>
      (await Promise.allSettled(calls.map(call => call()))).map(result =>
        result.status === 'fulfilled' ? JSON.stringify(result.value) : String(result.reason),
      );
    let counted: string[] = [];
    await recordOfUnit(test, async () => {
      counted = await seen();
    });
    await test.close();
    expect(counted).toEqual(await seen());
    test = await startApp({ instrumentations });
    expect(await costOf(test, () => orders.findOne({ _id: 1 }))).toMatchObject({ count: 1 });
  });
});
