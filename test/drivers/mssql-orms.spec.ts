import knex from 'knex';
import { Kysely, MssqlDialect } from 'kysely';
import * as tarn from 'tarn';
import * as tedious from 'tedious';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mssqlInstrumentation } from '../../lib/drivers/mssql/mssql.driver';
import { addressOf } from '../support/mssql';
import { startApp, type TestApp } from '../support/platforms';
import { startTdsServer, type TdsServer } from '../support/tds-server';
import { chargedAtOnce, costOf, recordOfUnit } from '../support/units';

let test: TestApp;
let server: TdsServer;

beforeAll(async () => {
  server = await startTdsServer();
  test = await startApp({ instrumentations: [mssqlInstrumentation()] });
});
afterAll(async () => {
  await server.close();
  await test.close();
});

describe('through', () => {
  it('TypeORM is counted exactly', async () => {
    const Order = new EntitySchema<{ id: number; name: string }>({
      name: 'orders',
      columns: { id: { type: Number, primary: true }, name: { type: String } },
    });
    const db = new DataSource({
      type: 'mssql',
      host: '127.0.0.1',
      port: server.port,
      username: 'test',
      password: 'test',
      options: { encrypt: false },
      entities: [Order],
    });
    await db.initialize();
    const record = await recordOfUnit(test, async () => {
      await db.getRepository(Order).findBy({ id: 1 });
      await db.transaction(manager => manager.getRepository(Order).findBy({ name: 'a' }));
    });
    expect(record.queries).toMatchObject({ count: 2, transactions: 2, errors: 0 });
    await db.destroy();
  });

  it('Knex, on tedious, is counted exactly, and 20 at once are charged to their own', async () => {
    const db = knex({
      client: 'mssql',
      connection: {
        server: '127.0.0.1',
        port: server.port,
        user: 'test',
        password: 'test',
        options: { encrypt: false },
      } as object,
      pool: { min: 0, max: 2 },
    });
    const cost = await costOf(test, () => db('orders').where({ id: 1 }).limit(3));
    expect(cost).toMatchObject({ count: 1, table: 'orders' });
    const { made, charged } = await chargedAtOnce(test, 20, async queries => {
      for (let id = 0; id < queries; id++) await db('orders').where({ id });
    });
    expect(charged).toEqual(made);
    await db.destroy();
  });

  it('Kysely, on tedious, is counted exactly, without what its pool asks', async () => {
    const db = new Kysely<{ orders: { id: number } }>({
      dialect: new MssqlDialect({
        tarn: { ...tarn, options: { min: 0, max: 2 } },
        tedious: { ...tedious, connectionFactory: () => new tedious.Connection(addressOf(server)) },
      }),
    });
    const { made, charged } = await chargedAtOnce(test, 20, async queries => {
      for (let id = 0; id < queries; id++) {
        await db.selectFrom('orders').selectAll().where('id', '=', id).execute();
      }
    });
    expect(charged).toEqual(made);
    await db.destroy();
  });
});
