import { Connection, type ConnectionConfiguration } from 'tedious';
import { once } from 'node:events';
import sql from 'mssql';
import type { TdsServer } from './tds-server';

/** A pool of `mssql` at the stand-in. */
export function openPool(
  { port }: TdsServer,
  max = 2,
  more: Partial<sql.config> = {},
): Promise<sql.ConnectionPool> {
  return new sql.ConnectionPool({
    server: '127.0.0.1',
    port,
    user: 'test',
    password: 'test',
    options: { encrypt: false },
    pool: { max, acquireTimeoutMillis: 2_000 },
    ...more,
  }).connect();
}

/** What a connection of `tedious` itself is made with. */
export function addressOf({ port }: TdsServer): ConnectionConfiguration {
  return {
    server: '127.0.0.1',
    options: { port, encrypt: false, trustServerCertificate: true },
    authentication: { type: 'default', options: { userName: 'test', password: 'test' } },
  };
}

/** A connection of `tedious` itself, as Knex, Kysely and Sequelize have it. */
export async function connect(
  server: TdsServer,
  more: ConnectionConfiguration['options'] = {},
): Promise<Connection> {
  const address = addressOf(server);
  const connection = new Connection({ ...address, options: { ...address.options, ...more } });
  connection.connect();
  await once(connection, 'connect');
  return connection;
}

export function byId(pool: sql.ConnectionPool): sql.Request {
  return pool.request().input('id', sql.Int, 5);
}

/** Three rows of `orders`. */
export function newTable(): sql.Table {
  const table = new sql.Table('orders');
  table.columns.add('id', sql.Int, { nullable: true });
  for (const id of [1, 2, 3]) table.rows.add(id);
  return table;
}

/** Prepares a text that has `@id`, executes it once for each, and gives what that returns. */
export async function executePrepared(
  pool: sql.ConnectionPool,
  text: string,
  ids: readonly number[] = [1],
): Promise<unknown[]> {
  const statement = new sql.PreparedStatement(pool);
  statement.input('id', sql.Int);
  await statement.prepare(text);
  const results: unknown[] = [];
  for (const id of ids) results.push(await statement.execute({ id }));
  await statement.unprepare();
  return results;
}
