import { MongoClient } from 'mongodb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { type MongoServer, startMongoServer } from '../../support/mongo-server';
import { startApp, type TestApp } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

let test: TestApp;
let server: MongoServer;
let client: MongoClient;
const lines = (): string[] => test.logs.of('warn', 'ConnectionPool');
const find = (sleep: number) =>
  client
    .db()
    .collection('orders')
    .findOne({ $sleep: sleep, name: 'secret' } as never);

beforeEach(async () => {
  server = await startMongoServer();
  test = await startApp({ poolWaitMs: 100, connectionLeakMs: 100 });
  client = await MongoClient.connect(server.url, { maxPoolSize: 2 });
});
afterEach(async () => {
  await client.close();
  await test.close();
  await server.close();
});

describe('the pool of mongodb', () => {
  it.each(['at first', 'when its connections were in use before'])(
    'that is waited for names its holders, and the command each is in: %s',
    async when => {
      if (when !== 'at first') {
        await Promise.all([find(20), find(20)]);
        for (let i = 0; i < 10; i++) await find(0);
      }
      const holders = test.app
        .get(ContextService)
        .run({ handler: 'Reports.monthly' }, () => Promise.all([find(300), find(300)]));
      await new Promise(resolve => setTimeout(resolve, 50));
      const record = await recordOfUnit(test, () => find(0));
      await holders;
      expect(record.queries.waitMs).toBeGreaterThan(100);
      expect(lines()).toHaveLength(1);
      expect(lines()[0]).toContain('for a mongodb connection: 2 of 2 in use, 1 call waiting');
      expect(lines()[0]).toMatch(
        /holder Reports\.monthly, 2 for [\d.]+( to [\d.]+)? ms: in find orders \{\$sleep: \?, name: \?\}\n/,
      );
      expect(lines()[0]).not.toContain('secret');
    },
  );

  it('says nothing of work that goes on after its request, once its connections are back', async () => {
    await test.close();
    test = await startApp({ connectionLeakMs: 1_000 });
    const finds: Promise<unknown>[] = [];
    for (let i = 0; i < 50; i++) {
      test.app.get(ContextService).run({ handler: 'Orders.late' }, () => void finds.push(find(1)));
    }
    await Promise.all(finds);
    await new Promise(resolve => setTimeout(resolve, 1_300));
    expect(lines().filter(line => line.includes('has not released'))).toEqual([]);
  });
});
