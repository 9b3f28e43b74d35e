import { type Connection, createPool, type Pool, type RowDataPacket } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { mysql2Instrumentation } from '../../lib/drivers/mysql2/mysql2.driver';
import { startApp, type TestApp, until } from '../support/platforms';

const uri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const orders = `lines_${process.pid}`;

let test: TestApp;
let pool: Pool;

beforeAll(async () => {
  test = await startApp({ instrumentations: [mysql2Instrumentation()] });
  pool = createPool({ uri, connectionLimit: 2 });
  await pool.query(`CREATE TABLE ${orders} (id int)`);
  await pool.query(`INSERT INTO ${orders} VALUES (1), (2), (3), (4), (5), (6)`);
});
afterAll(async () => {
  await pool.query(`DROP TABLE ${orders}`);
  await pool.end();
  await test.close();
});

async function executed(on: Pick<Connection, 'execute'>): Promise<void> {
  const [rows] = await on.execute<RowDataPacket[]>(`SELECT id FROM ${orders}`);
  for (const { id } of rows) await on.execute(`SELECT * FROM ${orders} WHERE id = ?`, [id]);
}

async function queried(on: Pick<Connection, 'query'>): Promise<void> {
  const [rows] = await on.query<RowDataPacket[]>({ sql: `SELECT id FROM ${orders}` });
  for (const { id } of rows) await on.query(`SELECT * FROM ${orders} WHERE id = ?`, [id]);
}

describe('a pool of mysql2, which gives its connections a tick later', () => {
  it.each<[string, (on: Pool) => Promise<void>]>([
    ['executed', executed],
    ['queried', queried],
  ])('names the lines of the application in its first request: %s', async (name, work) => {
    const requestId = `${name}-${process.pid}`;
    await test.app.get(ContextService).run({ requestId, handler: name }, () => work(pool));
    const record = await until(() => test.sink.records.find(one => one.requestId === requestId), 'record');
    const line = new RegExp(`^mysql2-lines\\.spec\\.ts:\\d+ ${name}$`);
    expect(record.findings).toMatchObject([
      {
        count: 6,
        callSite: expect.stringMatching(line),
        parents: [{ callSite: expect.stringMatching(line) }],
      },
    ]);
  });
});
