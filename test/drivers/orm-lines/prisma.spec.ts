import { PrismaPg } from '@prisma/adapter-pg';
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
import { generatePrisma } from '../../support/prisma';

interface PrismaLike {
  order: { findMany(query?: unknown): Promise<{ id: number; buyerId: number }[]> };
  customer: {
    findUnique(query: unknown): Promise<{ id: number } | null>;
    findFirst(query: unknown): Promise<unknown>;
    create(query: unknown): Promise<unknown>;
  };
  item: { findMany(query: unknown): Promise<unknown[]> };
  $queryRaw(strings: TemplateStringsArray, ...values: unknown[]): Promise<unknown>;
  $transaction<T>(work: (inside: PrismaLike) => Promise<T>): Promise<T>;
  $disconnect(): Promise<void>;
}

/** What `@prisma/instrumentation` puts there, as far as a client asks for it. */
class TracingHelper {
  readonly spans: string[] = [];

  isEnabled(): boolean {
    return false;
  }

  getTraceParent(): string {
    return '00-10-10-00';
  }

  getActiveContext(): undefined {}

  runInChildSpan(options: string | { name: string }, callback: () => unknown): unknown {
    this.spans.push(typeof options === 'string' ? options : options.name);
    return callback();
  }
}

interface Slot {
  helper: TracingHelper;
}

const holder = globalThis as { V7_PRISMA_INSTRUMENTATION?: Slot; PRISMA_INSTRUMENTATION?: Slot };

let database: LineDatabase;
let test: TestApp;
let prisma: PrismaLike;

const works: Works = {
  async firsts() {
    const all = await prisma.order.findMany(); // firsts: parent
    for (const { buyerId } of all) {
      await prisma.customer.findFirst({ where: { id: buyerId } }); // firsts: child
    }
  },
  async uniques() {
    const all = await prisma.order.findMany(); // uniques: parent
    for (const { buyerId } of all) {
      await prisma.customer.findUnique({ where: { id: buyerId } }); // uniques: child
    }
  },
  async uniquesInTransaction() {
    await prisma.$transaction(async inside => {
      const all = await inside.order.findMany(); // uniquesInTransaction: parent
      for (const { buyerId } of all) {
        await inside.customer.findUnique({ where: { id: buyerId } }); // uniquesInTransaction: child
      }
    });
  },
  async uniquesAtOnce() {
    const some = await Promise.all(
      [1, 2, 3, 4, 5, 6, 7].map(async n => {
        const one = await prisma.customer.findUnique({ where: { id: n * 13 + 400 } }); // uniquesAtOnce: parent
        return one!;
      }),
    );
    for (const { id } of some) {
      await prisma.order.findMany({ where: { buyerId: id } }); // uniquesAtOnce: child
    }
  },
  async lists() {
    const all = await prisma.order.findMany(); // lists: parent
    await Promise.all(
      all.map(async ({ id }) => {
        const found = await prisma.item.findMany({ where: { orderId: id } }); // lists: child
        return found.length;
      }),
    );
  },
  async rawTexts() {
    const all = await prisma.order.findMany(); // rawTexts: parent
    for (const { id } of all) {
      await prisma.$queryRaw`SELECT * FROM line_items WHERE order_id = ${id}`; // rawTexts: child
    }
  },
};

const lines = new MarkedLines(import.meta.url);

// An embedded engine has one connection.
describe.skipIf(isEmbedded)('Prisma', () => {
  beforeAll(async () => {
    const PrismaClient = await generatePrisma<PrismaLike>(
      'test/drivers/orm-lines/schema.prisma',
      'prisma-lines',
    );
    database = await createLineDatabase();
    prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: database.url, max: 4 }) });
    test = await startApp({});
  });
  afterAll(async () => {
    await prisma.$disconnect();
    await database.drop();
  });

  it.each(Object.entries(works))('names the lines of the application: %s', async (name, work) => {
    await lines.expect(test, name, name, work);
  });

  it('gives the application what it would give', async () => {
    const all = await prisma.order.findMany();
    await findingsOf(test, 'results', async () => {
      expect(await prisma.order.findMany()).toEqual(all);
      await expect(prisma.customer.create({ data: { id: 413, name: 'known' } })).rejects.toMatchObject({
        code: 'P2002',
      });
    });
  });

  // These close the application.
  it('has no helper of ours when the last application has closed', async () => {
    expect(holder.V7_PRISMA_INSTRUMENTATION).toBeDefined();
    await test.close();
    expect(holder).not.toHaveProperty('V7_PRISMA_INSTRUMENTATION');
  });

  it.each(['V7_PRISMA_INSTRUMENTATION', 'PRISMA_INSTRUMENTATION'] as const)(
    'keeps the helper of who traces it, and names the lines: %s',
    async slot => {
      const helper = new TracingHelper();
      const { runInChildSpan } = TracingHelper.prototype;
      holder[slot] = { helper };
      test = await startApp({});
      await lines.expect(test, `traced ${slot}`, 'uniques', works['uniques']!);
      expect(helper.spans).toContain('operation');
      await test.close();
      expect(holder[slot].helper).toBe(helper);
      expect(helper.runInChildSpan).toBe(runInChildSpan);
      delete holder[slot];
    },
  );

  it('leaves it to who traces it later', async () => {
    test = await startApp({});
    const helper = new TracingHelper();
    holder.PRISMA_INSTRUMENTATION = { helper };
    await prisma.order.findMany();
    expect(helper.spans).toContain('operation');
    await test.close();
    delete holder.PRISMA_INSTRUMENTATION;
    expect(holder).not.toHaveProperty('V7_PRISMA_INSTRUMENTATION');
  });
});
