import { type Connection, Request, TYPES } from 'tedious';
import { once } from 'node:events';
import sql from 'mssql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mssqlInstrumentation } from '../../lib/drivers/mssql/mssql.driver';
import { connect, openPool } from '../support/mssql';
import { startApp, type TestApp } from '../support/platforms';
import { startTdsServer, type TdsServer } from '../support/tds-server';
import { recordOfUnit } from '../support/units';
import { foundBy, ITEMS_OF_ORDERS } from '../support/values';

type Row = Record<string, unknown>;

const instrumentations = [mssqlInstrumentation()];
const ORDERS = 'SELECT TOP 12 id, name FROM orders';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = @id';

let test: TestApp;
let server: TdsServer;
let pool: sql.ConnectionPool;
let connection: Connection;

beforeAll(async () => {
  server = await startTdsServer();
  test = await startApp({ instrumentations });
  pool = await openPool(server);
  connection = await connect(server);
});
afterAll(async () => {
  connection.close();
  await pool.close();
  await server.close();
  await test.close();
});

const idsOf = (rows: Iterable<unknown>): unknown[] => [...rows].map(row => (row as Row)['id']);
const itemsOf = (id: unknown): Promise<unknown> => pool.request().input('id', sql.Int, id).query(ITEMS);

async function itemsOfEach(ids: Iterable<unknown>): Promise<void> {
  for (const id of ids) await itemsOf(id);
}

/** The ids that `tedious` itself gives for a text, row by row. */
async function idsByEvents(text: string, on = connection): Promise<unknown[]> {
  const ids: unknown[] = [];
  const request = new Request(text, () => undefined);
  request.on('row', (columns: { value: unknown; metadata: { colName: string } }[] | Row) => {
    ids.push((Array.isArray(columns) ? columns[0]! : (columns['id'] as { value: unknown })).value);
  });
  on.execSql(request);
  await once(request, 'requestCompleted');
  return ids;
}

describe('the rows of mssql that its queries run for', () => {
  it.each<[string, () => unknown]>([
    ['query()', async () => itemsOfEach(idsOf((await pool.query(ORDERS)).recordset))],
    ['all at once', async () => Promise.all(idsOf((await pool.query(ORDERS)).recordset).map(itemsOf))],
    [
      'a template',
      async () => {
        for (const id of idsOf((await pool.query(ORDERS)).recordset))
          await pool.query`SELECT * FROM order_items WHERE order_id = ${id}`;
      },
    ],
    [
      'a callback',
      async () => {
        const rows = await new Promise<unknown[]>((resolve, reject) => {
          pool
            .request()
            .query(ORDERS, (error, result) => (error ? reject(error) : resolve(result!.recordset)));
        });
        await itemsOfEach(idsOf(rows));
      },
    ],
    ['batch()', async () => itemsOfEach(idsOf((await pool.request().batch(ORDERS)).recordset))],
    [
      'several statements',
      async () => {
        const { recordsets } = await pool.query(`SELECT id, name FROM orders; ${ORDERS}`);
        await itemsOfEach(idsOf((recordsets as unknown[][])[1]!));
      },
    ],
    [
      'rows as arrays',
      async () => {
        const request = pool.request();
        Object.assign(request, { arrayRowMode: true });
        const { recordset } = await request.query(ORDERS);
        await itemsOfEach((recordset as unknown as unknown[][]).map(([id]) => id));
      },
    ],
    [
      'a stream',
      async () => {
        const request = pool.request();
        const stream = request.toReadableStream();
        void request.query(ORDERS);
        const rows: unknown[] = [];
        for await (const row of stream) rows.push(row);
        await itemsOfEach(idsOf(rows));
      },
    ],
    [
      'what was prepared',
      async () => {
        const statement = new sql.PreparedStatement(pool);
        statement.input('least', sql.Int).input('id', sql.Int);
        const ids = idsOf((await pool.query(ORDERS)).recordset);
        await statement.prepare('SELECT * FROM order_items WHERE id > @least AND order_id = @id');
        for (const id of ids) await statement.execute({ id, least: 0 });
        await statement.unprepare();
      },
    ],
    [
      'a transaction',
      async () => {
        const transaction = new sql.Transaction(pool);
        await transaction.begin();
        for (const id of idsOf((await new sql.Request(transaction).query(ORDERS)).recordset))
          await new sql.Request(transaction).input('id', sql.Int, id).query(ITEMS);
        await transaction.commit();
      },
    ],
    [
      'an INSERT',
      async () => {
        for (const id of idsOf((await pool.query(ORDERS)).recordset)) {
          const request = pool.request().input('name', sql.NVarChar, 'x').input('order', sql.Int, id);
          await request.query('INSERT INTO order_items (name, order_id) VALUES (@name, @order)');
        }
      },
    ],
    ['tedious itself', async () => itemsOfEach(await idsByEvents(ORDERS))],
    [
      'a child of tedious itself',
      async () => {
        for (const id of await idsByEvents(ORDERS)) {
          const request = new Request(ITEMS, () => undefined);
          request.addParameter('id', TYPES.Int, id);
          connection.execSql(request);
          await once(request, 'requestCompleted');
        }
      },
    ],
  ])('are named: %s', async (_what, work) => {
    expect(await foundBy(test, work)).toEqual(ITEMS_OF_ORDERS);
  });

  it('are named where tedious gives columns by their names', async () => {
    const byName = await connect(server, { useColumnNames: true });
    const found = await foundBy(test, async () => itemsOfEach(await idsByEvents(ORDERS, byName)));
    byName.close();
    expect(found).toEqual(ITEMS_OF_ORDERS);
  });

  it('are named where there are more than are looked at', async () => {
    const found = await foundBy(test, async () =>
      itemsOfEach(idsOf((await pool.query('SELECT TOP 250 id, name FROM orders')).recordset)),
    );
    expect(found).toEqual(ITEMS_OF_ORDERS);
  });

  it.each<[string, () => unknown]>([
    [
      'an empty result',
      async () => itemsOfEach(idsOf((await pool.query('SELECT TOP 0 * FROM orders')).recordset)),
    ],
    [
      'errors',
      async () => {
        for (const id of [1, 2, 3])
          await pool
            .request()
            .input('id', sql.Int, id)
            .query('SELECT * FROM nowhere WHERE id = @id')
            .catch(() => undefined);
      },
    ],
  ])('are not there: %s', async (_what, work) => {
    const found = await foundBy(test, work);
    expect(found.filter(({ confidence }) => confidence === 'proven')).toEqual([]);
  });

  it('are what the application gets without this package', async () => {
    const seen = async (): Promise<unknown> => {
      const { recordset, recordsets, rowsAffected } = await pool.query(`${ORDERS}; SELECT 1`);
      return JSON.parse(
        JSON.stringify([recordset, recordset.columns, recordsets, rowsAffected, await idsByEvents(ORDERS)]),
      );
    };
    let counted: unknown;
    await recordOfUnit(test, async () => {
      counted = await seen();
    });
    const bare = await seen();
    expect(counted).toEqual(bare);
  });
});
