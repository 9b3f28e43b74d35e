import { once } from 'node:events';
import { createRequire } from 'node:module';
import { PGlite } from '@electric-sql/pglite';
import type * as Elasticsearch from '@elastic/elasticsearch';
import type * as KafkaJs from 'kafkajs';
import mysql from 'mysql2';
import { Client, Pool, type PoolClient } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { databaseUrl, isEmbedded } from '../support/database';
import { startElasticsearch } from '../support/elasticsearch-server';
import { startKafkaServer } from '../support/kafka-server';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

type AnyMethod = (this: unknown, ...args: unknown[]) => unknown;

const load = createRequire(import.meta.url);
const basePool = Object.getPrototypeOf(Pool.prototype) as Record<string, AnyMethod>;
const undo: (() => void)[] = [];
let test: TestApp | undefined;
let pool: Pool;
let wrapped = 0;

beforeEach(() => {
  wrapped = 0;
});
afterEach(async () => {
  await test?.close();
  test = undefined;
  for (const takeBack of undo.splice(0).toReversed()) takeBack();
});

/**
 * What an agent does to a class: a method of its own, around the one that the class has now, as dd-trace puts it
 * on `pg.Pool`, which inherits it from pg-pool.
 */
function wrapOn(target: object, ...names: string[]): void {
  for (const name of names) {
    const own = Object.getOwnPropertyDescriptor(target, name);
    const original = (target as Record<string, AnyMethod>)[name]!;
    const value: AnyMethod = function (...args) {
      wrapped += 1;
      return original.apply(this, args);
    };
    Object.defineProperty(target, name, { value, configurable: true, writable: true });
    undo.push(() => {
      if (own === undefined) delete (target as Record<string, unknown>)[name];
      else Object.defineProperty(target, name, own);
    });
  }
}

const SLEEP = 'SELECT pg_sleep(0.002), $1::int AS n';

/** Three queries, one after the other but for the last form, and what they gave. */
const FORMS: Record<string, (n: number) => Promise<number[]>> = {
  'pool.query()': n => thrice(async () => rowOf(await pool.query(SLEEP, [n]))),
  'pool.query() of an object': n => thrice(async () => rowOf(await pool.query({ text: SLEEP, values: [n] }))),
  'pool.query(callback)': n =>
    thrice(
      () =>
        new Promise((resolve, reject) => {
          pool.query(SLEEP, [n], (error, result) => (error ? reject(error) : resolve(rowOf(result))));
        }),
    ),
  'pool.query(callback), the next from the callback': n =>
    new Promise((resolve, reject) => {
      const rows: number[] = [];
      const next = (): void =>
        pool.query(SLEEP, [n], (error, result) => {
          if (error) return reject(error);
          if (rows.push(rowOf(result)) === 3) resolve(rows);
          else next();
        });
      next();
    }),
  'pool.connect()': async n => {
    const client = await pool.connect();
    try {
      return await thrice(async () => rowOf(await client.query(SLEEP, [n])));
    } finally {
      client.release();
    }
  },
  'pool.connect(callback)': n =>
    new Promise((resolve, reject) => {
      pool.connect((error, client, release) =>
        error ? reject(error) : useOnce(client!, n, release, resolve, reject),
      );
    }),
  'all at once': n => Promise.all([1, 2, 3].map(async () => rowOf(await pool.query(SLEEP, [n])))),
};

function useOnce(
  client: PoolClient,
  n: number,
  release: () => void,
  resolve: (rows: number[]) => void,
  reject: (error: Error) => void,
): void {
  const rows: number[] = [];
  const next = (): void =>
    client.query(SLEEP, [n], (error, result) => {
      if (error) return reject(error);
      if (rows.push(rowOf(result)) < 3) return next();
      release();
      resolve(rows);
    });
  next();
}

async function thrice(query: () => Promise<number>): Promise<number[]> {
  return [await query(), await query(), await query()];
}

function rowOf({ rows }: { rows: { n: number }[] }): number {
  return rows[0]!.n;
}

/** 24 units of work of three queries over three connections: the rows of each, and what each is charged. */
async function overFullPool(form: (n: number) => Promise<number[]>) {
  const rows: number[][] = [];
  const units = Array.from({ length: 24 }, (_, n) =>
    recordOfUnit(test!, async () => {
      rows[n] = await form(n);
    }),
  );
  const records = await Promise.all(units);
  return { rows, charged: records.map(({ queries }) => queries.count + queries.late) };
}

const RIGHT = {
  rows: Array.from({ length: 24 }, (_, n) => [n, n, n]),
  charged: Array.from({ length: 24 }, () => 3),
};

function openPool(): Pool {
  pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 3 });
  undo.push(() => void pool.end());
  return pool;
}

describe('queries of a full pg pool are charged to their own unit of work', () => {
  const WRAPPERS: Record<string, () => Promise<void>> = {
    'on the class of pg, before the application': async () => {
      wrapOn(Pool.prototype, 'connect', 'query');
      test = await startApp({});
      openPool();
    },
    'on the class of pg, after the application': async () => {
      test = await startApp({});
      wrapOn(Pool.prototype, 'connect', 'query');
      openPool();
    },
    'on both classes, before the application': async () => {
      wrapOn(basePool, 'connect', 'query');
      wrapOn(Pool.prototype, 'connect', 'query');
      test = await startApp({});
      openPool();
    },
    'on a class of the application, from methods of before': async () => {
      class OwnPool extends Pool {}
      wrapOn(OwnPool.prototype, 'connect', 'query');
      test = await startApp({});
      pool = new OwnPool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 3 });
      undo.push(() => void pool.end());
    },
    'on one pool, before the application': async () => {
      wrapOn(openPool(), 'connect', 'query');
      test = await startApp({});
    },
    'on the class of pg, between two applications': async () => {
      const first = await startApp({});
      wrapOn(Pool.prototype, 'connect', 'query');
      await first.close();
      test = await startApp({});
      openPool();
    },
    'on the client, before the application': async () => {
      wrapOn(Client.prototype, 'query', 'connect');
      test = await startApp({});
      openPool();
    },
  };

  it.each(Object.keys(WRAPPERS).flatMap(wrapper => Object.keys(FORMS).map(form => [wrapper, form] as const)))(
    'with a wrapper %s: %s',
    async (wrapper, form) => {
      await WRAPPERS[wrapper]!();
      expect(await overFullPool(FORMS[form]!)).toEqual(RIGHT);
      expect(wrapped).toBeGreaterThan(0);
    },
  );

  it('that has its connections already, with a wrapper on a class of the application', async () => {
    class OwnPool extends Pool {}
    wrapOn(OwnPool.prototype, 'connect', 'query');
    pool = new OwnPool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 3 });
    undo.push(() => void pool.end());
    await Promise.all([1, 2, 3].map(() => pool.query('SELECT 1')));
    test = await startApp({});
    // What waits when the first of them comes past is charged to nobody; a wrong name is worse.
    const first = await overFullPool(FORMS['pool.query()']!);
    expect(first.rows).toEqual(RIGHT.rows);
    expect(first.charged.filter(charged => charged > 3)).toEqual([]);
    expect(await overFullPool(FORMS['pool.query()']!)).toEqual(RIGHT);
  });

  it('or to nobody, which is said once, where somebody asks by a method that it has kept', async () => {
    const kept = basePool['connect']!;
    test = await startApp({});
    openPool();
    const { rows, charged } = await overFullPool(
      n =>
        new Promise((resolve, reject) => {
          kept.call(pool, (error: Error | undefined, client: PoolClient, release: () => void) =>
            error ? reject(error) : useOnce(client, n, release, resolve, reject),
          );
        }),
    );
    expect(rows).toEqual(RIGHT.rows);
    expect(charged.filter(count => count > 3)).toEqual([]);
    const said = test.logs.of('warn', 'AsyncContext').filter(line => line.includes('instrumentation of pg'));
    expect(said).toEqual([expect.stringContaining('have it call `pool.connect()`')]);
  });

  it('and what has waited since before the application is no such case, and hides none', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    undo.push(() => void pool.end());
    const kept = basePool['connect']!;
    const ask = (connect: AnyMethod): Promise<PoolClient> =>
      new Promise((resolve, reject) => {
        connect.call(pool, (error: Error | undefined, client: PoolClient) =>
          error ? reject(error) : resolve(client),
        );
      });
    const said = (): string[] =>
      test!.logs.of('warn', 'AsyncContext').filter(line => line.includes('have it call `pool.connect()`'));
    const holder = await pool.connect();
    const waiting = [ask(kept), ask(kept)];
    test = await startApp({});
    const later = ask(kept);
    holder.release();
    for (const one of [...waiting, later]) (await one).release();
    expect(said()).toEqual([]);
    const next = await pool.connect();
    const bypasses = ask(kept);
    next.release();
    (await bypasses).release();
    expect(said()).toHaveLength(1);
  });
});

it('takes everything back from classes and pools that others have wrapped', async () => {
  wrapOn(Pool.prototype, 'connect', 'query');
  wrapOn(openPool(), 'connect');
  const facts = () =>
    [pool, Pool.prototype, basePool].map(one => Object.getOwnPropertyDescriptor(one, 'connect'));
  const before = facts();
  test = await startApp({});
  await overFullPool(FORMS['pool.query()']!);
  expect(facts()).not.toEqual(before);
  await test.close();
  expect(facts()).toEqual(before);
  expect([pool, Pool.prototype].flatMap(Object.getOwnPropertySymbols).map(String)).not.toContain(
    'Symbol(nestjs-async-context.replaced)',
  );
  expect((await pool.query('SELECT 1')).rowCount).toBe(1);
});

describe('a wrapper on a subclass, from methods of before,', () => {
  it('of mysql2 hides neither the text, nor the rows of a stream, nor a budget that throws', async () => {
    const { Connection } = mysql as unknown as { Connection: { prototype: object } };
    wrapOn(Connection.prototype, 'query', 'execute', 'addCommand');
    test = await startApp({ budget: { queries: 2 }, onExceeded: 'throw' });
    const connection = mysql.createConnection(
      process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test',
    );
    let refused: unknown;
    const { queries } = await recordOfUnit(test, async () => {
      await once(connection.query('SELECT ? AS n UNION SELECT 2', ['?']).stream().resume(), 'end');
      await connection.promise().execute('SELECT ? AS n', [1]);
      await connection
        .promise()
        .query('SELECT 3')
        .catch((error: unknown) => (refused = error));
    });
    await connection.promise().end();
    expect(wrapped).toBeGreaterThan(2);
    expect(refused).toMatchObject({ name: 'QueryBudgetExceededError' });
    expect(queries.shapes.map(({ shape, count, rows }) => [shape, count, rows])).toEqual([
      ['SELECT ? AS n UNION SELECT ?', 1, 2],
      ['SELECT ? AS n', 1, 1],
      ['SELECT ?', 1, 0],
    ]);
  });

  it('of kafkajs, which the package then exports', async () => {
    const kafkajs = load('kafkajs') as { Kafka: typeof KafkaJs.Kafka };
    const { Kafka } = kafkajs;
    class OwnKafka extends Kafka {}
    wrapOn(OwnKafka.prototype, 'producer');
    Object.defineProperty(kafkajs, 'Kafka', {
      value: OwnKafka,
      configurable: true,
      writable: true,
      enumerable: true,
    });
    undo.push(() =>
      Object.defineProperty(kafkajs, 'Kafka', {
        value: Kafka,
        configurable: true,
        writable: true,
        enumerable: true,
      }),
    );
    test = await startApp({});
    const server = await startKafkaServer();
    const producer = new kafkajs.Kafka({ brokers: [server.broker], logLevel: 0 }).producer();
    await producer.connect();
    const { messages } = await recordOfUnit(test, () =>
      producer.send({ topic: 'orders', messages: [{ value: 'a' }, { value: 'b' }] }),
    );
    await producer.disconnect();
    await server.close();
    expect(wrapped).toBe(1);
    expect(messages).toMatchObject({ count: 2 });
  });

  it('of PGlite', async () => {
    const db = await PGlite.create();
    wrapOn(PGlite.prototype, 'query', 'transaction');
    test = await startApp({});
    const { queries } = await recordOfUnit(test, async () => {
      await db.query('SELECT 1');
      await db.transaction(tx => tx.query('SELECT 2'));
    });
    await db.close();
    expect(wrapped).toBe(2);
    expect(queries).toMatchObject({ count: 2, rows: 2 });
  }, 120_000);

  it('of Elasticsearch', async () => {
    const server = await startElasticsearch();
    const elastic = load('@elastic/elasticsearch') as typeof Elasticsearch;
    wrapOn(elastic.SniffingTransport.prototype, 'request');
    test = await startApp({});
    const client = new elastic.Client({ node: server.url });
    const { queries, http } = await recordOfUnit(test, () =>
      client.search({ index: 'orders' }).catch(() => undefined),
    );
    await client.close();
    await server.close();
    expect(wrapped).toBe(1);
    expect([queries.count, http?.count ?? 0]).toEqual([1, 0]);
  });
});
