import { createRequire } from 'node:module';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isEmbedded } from '../../support/database';
import {
  createLineDatabase,
  findingsOf,
  type LineDatabase,
  MarkedLines,
  type Works,
} from '../../support/orm-lines';
import { startApp, type TestApp } from '../../support/platforms';

interface OrderEntity {
  id: number;
  buyer: Promise<{ id: number; name: string }>;
  items: Promise<{ id: number }[]>;
}

const Customer = new EntitySchema<{ id: number; name: string }>({
  name: 'LineCustomer',
  tableName: 'line_customers',
  columns: { id: { type: Number, primary: true }, name: { type: String } },
});
const Item = new EntitySchema<{ id: number; order: OrderEntity }>({
  name: 'LineItem',
  tableName: 'line_items',
  columns: { id: { type: Number, primary: true } },
  relations: { order: { type: 'many-to-one', target: 'LineOrder', joinColumn: { name: 'order_id' } } },
});
const Order = new EntitySchema<OrderEntity>({
  name: 'LineOrder',
  tableName: 'line_orders',
  columns: { id: { type: Number, primary: true } },
  relations: {
    buyer: { type: 'many-to-one', target: 'LineCustomer', lazy: true, joinColumn: { name: 'buyer_id' } },
    items: { type: 'one-to-many', target: 'LineItem', lazy: true, inverseSide: 'order' },
  },
});

let database: LineDatabase;
let test: TestApp;
let source: DataSource;

const works: Works = {
  async lazyItems() {
    const all = await source.getRepository(Order).find(); // lazyItems: parent
    for (const order of all) {
      await order.items; // lazyItems: child
    }
  },
  async lazyBuyersAtOnce() {
    const all = await source.getRepository(Order).find(); // lazyBuyersAtOnce: parent
    const names = await Promise.all(
      all.map(async order => {
        const { name } = await order.buyer; // lazyBuyersAtOnce: child
        return name;
      }),
    );
    expect(names).toHaveLength(7);
  },
};

/** Two places of one handler that read the same relation. */
const places = [
  async function earlier(order: OrderEntity): Promise<void> {
    await order.items; // earlier
  },
  async function later(order: OrderEntity): Promise<void> {
    await order.items; // later
  },
];

const lines = new MarkedLines(import.meta.url);
const { RelationLoader } = createRequire(import.meta.url)('typeorm/query-builder/RelationLoader.js') as {
  RelationLoader: { prototype: { load: unknown } };
};
const bare = RelationLoader.prototype.load;

// An embedded engine has one connection.
describe.skipIf(isEmbedded)('a lazy relation of TypeORM', () => {
  beforeAll(async () => {
    database = await createLineDatabase();
    source = await new DataSource({
      type: 'postgres',
      url: database.url,
      entities: [Customer, Item, Order],
      poolSize: 4,
    }).initialize();
    test = await startApp({});
  });
  afterAll(async () => {
    await source.destroy();
    await database.drop();
  });

  it.each(Object.entries(works))('names the lines of the application: %s', async (name, work) => {
    await lines.expect(test, name, name, work);
  });

  it('has the line of each request that loads it 25 times', async () => {
    const found: (string | undefined)[] = [];
    const order = [0, 0, 0, 0, 1, 0];
    for (const place of order) {
      const findings = await findingsOf(test, 'two places', async () => {
        for (let page = 0; page < 4; page += 1) {
          for (const one of await source.getRepository(Order).find()) await places[place]!(one);
        }
      });
      found.push(findings.find(({ shape }) => shape.includes('line_items'))?.callSite);
    }
    const expected = order.map(place => (place === 0 ? 'earlier' : 'later'));
    expect(found).toEqual(expected.map(name => `${lines.of(name)} ${name}`));
  });

  it('gives the application what it would give', async () => {
    await findingsOf(test, 'results', async () => {
      const [order] = await source.getRepository(Order).find();
      // Twice: what is loading is loaded once.
      const [one, other] = await Promise.all([order!.items, order!.items]);
      expect(one).toBe(other);
      expect(one).toHaveLength(3);
    });
  });

  // The last one: it closes the application.
  it('is what it was when the last application has closed', async () => {
    expect(RelationLoader.prototype.load).not.toBe(bare);
    await test.close();
    expect(RelationLoader.prototype.load).toBe(bare);
  });
});
