import { Injectable } from '@nestjs/common';
import * as mariadb from 'mariadb';
import * as mariadbCallbacks from 'mariadb/callback';
import sql from 'mssql';
import mysql from 'mysql2';
import * as mysqlPromises from 'mysql2/promise';
import { Client, Pool, type PoolClient } from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget, QueryBudgetExceededError, RunInContext } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';
import { openPool } from '../support/mssql';
import { isReachable } from '../support/servers';
import { startTdsServer } from '../support/tds-server';

const mariadbUri = new URL(process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test');
const hasMariadb = Boolean(process.env['CI']) || (await isReachable(Number(mariadbUri.port || 3306)));
if (!hasMariadb) console.warn('hard-transactions.spec.ts: MariaDB is not reachable, its tests are skipped');
const mariadbOptions = {
  host: mariadbUri.hostname,
  port: Number(mariadbUri.port || 3306),
  user: decodeURIComponent(mariadbUri.username),
  password: decodeURIComponent(mariadbUri.password),
  database: mariadbUri.pathname.slice(1),
};
const table = `hard_${process.pid}`;
const insert = (n: number): string => `INSERT INTO ${table} VALUES (${n})`;
const TIMES = 100;

@Injectable()
class Jobs {
  @RunInContext()
  @QueryBudget({ hard: { writes: 2 } })
  run<T>(work: () => T): T {
    return work();
  }

  @RunInContext()
  @QueryBudget({ hard: { queries: 2 } })
  few<T>(work: () => T): T {
    return work();
  }

  @RunInContext()
  @QueryBudget({ hard: { deadlineMs: 1_000 } })
  late<T>(work: () => T): T {
    return work();
  }
}

/** One way to write inside of a transaction, on the one connection of a pool, or on one of its own. */
interface Way {
  /** A statement. */
  send(text: string): Promise<unknown>;
  begin?(): Promise<unknown>;
  commit?(): Promise<unknown>;
  /** Gets the connection. */
  take?(): Promise<unknown>;
  /** Gives it back. */
  give?(): unknown;
  /** Counts rows, on the same connection. */
  count(): Promise<number>;
  end(): Promise<unknown>;
}

let test: TestApp;

beforeAll(async () => {
  test = await startApp({ providers: [Jobs], breachWindowMs: 0 });
});
afterAll(() => test.close());

const run = <T>(work: () => T): T => test.app.get(Jobs).run(work);

/** Two rows, and a third one that is not sent. */
async function writeThree(way: Way, from: number): Promise<unknown> {
  await way.take?.();
  await (way.begin?.() ?? way.send('BEGIN'));
  await way.send(insert(from));
  await way.send(insert(from + 1));
  return way.send(insert(from + 2)).then(
    () => undefined,
    (error: unknown) => error,
  );
}

function isHard(error: unknown): boolean {
  return error instanceof QueryBudgetExceededError && error.isHard;
}

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

/** What each way has to keep. */
function keeps(open: () => Promise<Way>): void {
  let way: Way;
  beforeAll(async () => {
    way = await open();
    await way.take?.();
    await way.send(`CREATE TABLE IF NOT EXISTS ${table} (n int PRIMARY KEY)`);
    await way.send(`DELETE FROM ${table}`);
    await way.give?.();
  });
  afterAll(async () => {
    await way.end();
  });

  it(`keeps nothing of what a handler commits all the same, ${TIMES} times on one connection`, async () => {
    for (let i = 0; i < TIMES; i++) {
      await run(async () => {
        expect(isHard(await writeThree(way, 10 * i))).toBe(true);
        expect(isHard(await failure(way.commit?.() ?? way.send('COMMIT')))).toBe(true);
        // It is in no transaction any more, and may be told so again.
        await way.send('ROLLBACK');
        await way.give?.();
      });
    }
    expect(await way.count()).toBe(0);
  });

  it('keeps nothing of what a handler rolls back', async () => {
    await run(async () => {
      expect(isHard(await writeThree(way, 0))).toBe(true);
      await way.send('ROLLBACK');
      await way.give?.();
    });
    expect(await way.count()).toBe(0);
  });

  it('lets another unit of work commit on the same connection', async () => {
    await run(async () => {
      await way.take?.();
      await (way.begin?.() ?? way.send('BEGIN'));
      await way.send(insert(1));
      await (way.commit?.() ?? way.send('COMMIT'));
      await way.give?.();
    });
    expect(await way.count()).toBe(1);
    await run(async () => {
      await way.take?.();
      await way.send(`DELETE FROM ${table}`);
      await way.give?.();
    });
  });

  it.each(['commit;', ' /* all */ COMMIT -- done', 'COMMIT AND CHAIN', 'Commit ;'])(
    'knows %j',
    async text => {
      await run(async () => {
        expect(isHard(await writeThree(way, 0))).toBe(true);
        expect(isHard(await failure(way.send(text)))).toBe(true);
        await way.give?.();
      });
      expect(await way.count()).toBe(0);
    },
  );

  it('refuses RELEASE SAVEPOINT, and goes back to one', async () => {
    await run(async () => {
      await way.take?.();
      await (way.begin?.() ?? way.send('BEGIN'));
      await way.send(insert(0));
      await way.send('SAVEPOINT inner_one');
      await way.send(insert(1));
      expect(isHard(await failure(way.send(insert(2))))).toBe(true);
      expect(isHard(await failure(way.send('RELEASE SAVEPOINT inner_one')))).toBe(true);
      await way.send('ROLLBACK TO SAVEPOINT inner_one');
      expect(isHard(await failure(way.send('COMMIT')))).toBe(true);
      await way.give?.();
    });
    expect(await way.count()).toBe(0);
  });

  it('lets BEGIN and settings through, and what is open is not committed by it', async () => {
    await run(async () => {
      expect(isHard(await writeThree(way, 0))).toBe(true);
      for (const text of ['BEGIN', 'start transaction read only;', 'START TRANSACTION']) await way.send(text);
      await way.begin?.();
      expect(isHard(await failure(way.send(insert(3))))).toBe(true);
      await way
        .send('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED')
        .catch(() => way.send('SET LOCAL statement_timeout = 0'));
      await way.send('ROLLBACK');
      await way.give?.();
    });
    expect(await way.count()).toBe(0);
  });

  it('keeps nothing of what is begun after the stop', async () => {
    await run(async () => {
      expect(isHard(await writeThree(way, 0))).toBe(true);
      await way.send('ROLLBACK');
      for (let i = 0; i < 5; i++) {
        await (way.begin?.() ?? way.send('BEGIN'));
        await way.send('SAVEPOINT inner_one');
        expect(isHard(await failure(way.send(insert(i))))).toBe(true);
        expect(isHard(await failure(way.commit?.() ?? way.send('COMMIT')))).toBe(true);
      }
      await way.send('BEGIN');
      await way.give?.();
    });
    expect(await way.count()).toBe(0);
    await run(async () => {
      await way.take?.();
      if (way.give === undefined) await way.send('ROLLBACK');
      // It is in no transaction: this is written at once.
      await way.send(insert(5));
      expect(await way.count()).toBe(1);
      await way.send(`DELETE FROM ${table}`);
      await way.give?.();
    });
  });

  it('refuses what only begins like BEGIN', async () => {
    await run(async () => {
      expect(isHard(await writeThree(way, 0))).toBe(true);
      for (const text of [
        `BEGIN NOT ATOMIC INSERT INTO ${table} VALUES (1); END`,
        `BEGIN TRAN INSERT INTO ${table} VALUES (1)`,
        `BEGIN; ${insert(1)}`,
        `${insert(1)}; SET autocommit = 1`,
        `LOCK TABLES ${table} WRITE`,
      ])
        expect(isHard(await failure(way.send(text)))).toBe(true);
      await way.send('ROLLBACK');
      await way.give?.();
    });
    expect(await way.count()).toBe(0);
  });

  it('rolls back what is open when the connection is given back', async () => {
    if (way.give === undefined) return;
    await run(async () => {
      expect(isHard(await writeThree(way, 0))).toBe(true);
      await way.give?.();
    });
    expect(await way.count()).toBe(0);
    await run(async () => {
      await way.take?.();
      // It is in no transaction: this is written at once.
      await way.send(insert(5));
      await way.give?.();
    });
    expect(await way.count()).toBe(1);
    await run(async () => {
      await way.take?.();
      await way.send(`DELETE FROM ${table}`);
      await way.give?.();
    });
  });
}

/** What both drivers have. */
interface Sending {
  query(text: string): Promise<unknown>;
  end(): Promise<void>;
}

interface Connectable {
  connect(done: (error: unknown) => void): void;
}

const asPromise = <T>(call: (done: (error: unknown, result?: T) => void) => unknown): Promise<T> =>
  new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error as Error) : resolve(result as T)));
  });

async function counted(url: 'pg' | 'mariadb'): Promise<number> {
  if (url === 'pg') {
    const client = new Client({ connectionString: databaseUrl() });
    await client.connect();
    const { rows } = await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`);
    await client.end();
    return rows[0]!.n;
  }
  const connection = await mysqlPromises.createConnection(mariadbOptions);
  const [rows] = await connection.query(`SELECT count(*) AS n FROM ${table}`);
  await connection.end();
  return Number((rows as { n: number }[])[0]!.n);
}

describe('PostgreSQL', () => {
  afterAll(async () => {
    const client = new Client({ connectionString: databaseUrl() });
    await client.connect();
    await client.query(`DROP TABLE IF EXISTS ${table}`);
    await client.end();
  });

  describe('pg, a pool', () =>
    keeps(async () => {
      const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
      let client: PoolClient;
      return {
        take: async () => (client = await pool.connect()),
        send: text => client.query(text),
        give: () => client.release(),
        count: () => counted('pg'),
        end: () => pool.end(),
      };
    }));

  describe('pg, a pool with callbacks', () =>
    keeps(async () => {
      const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
      let client: PoolClient;
      return {
        take: () =>
          asPromise(done =>
            pool.connect((error, one) => {
              client = one!;
              done(error);
            }),
          ),
        send: text => asPromise(done => client.query(text, done)),
        give: () => client.release(),
        count: () => counted('pg'),
        end: () => pool.end(),
      };
    }));

  describe('pg, a client', () =>
    keeps(async () => {
      const client = new Client({ connectionString: databaseUrl() });
      await client.connect();
      return { send: text => client.query({ text }), count: () => counted('pg'), end: () => client.end() };
    }));

  describe('postgres, a reserved connection', () =>
    keeps(async () => {
      const sql = postgres(databaseUrl(), { max: 1, onnotice: () => undefined });
      const one = await sql.reserve();
      return {
        send: async text => one.unsafe(text),
        count: () => counted('pg'),
        end: async () => {
          one.release();
          await sql.end();
        },
      };
    }));

  it('keeps nothing of sql.begin() of postgres, 100 times', async () => {
    const sql = postgres(databaseUrl(), { max: 1, onnotice: () => undefined });
    await sql.unsafe(`CREATE TABLE IF NOT EXISTS ${table} (n int PRIMARY KEY)`);
    for (let i = 0; i < TIMES; i++) {
      const error = await run(() =>
        failure(
          sql.begin(async tx => {
            for (let n = 0; n < 3; n++) await tx.unsafe(insert(n)).catch(() => undefined);
          }),
        ),
      );
      expect(isHard(error)).toBe(true);
    }
    const propagated = await run(() =>
      failure(
        sql.begin(async tx => {
          for (let n = 0; n < 3; n++) await tx.unsafe(insert(n));
        }),
      ),
    );
    expect(isHard(propagated)).toBe(true);
    expect(await counted('pg')).toBe(0);
    await sql.end();
  });

  it('keeps nothing of a text that commits, whatever stands before it', async () => {
    const client = new Client({ connectionString: databaseUrl() });
    await client.connect();
    await run(async () => {
      await client.query(`BEGIN; ${insert(1)}`);
      await client.query(insert(2));
      expect(isHard(await failure(client.query(`${insert(3)}; COMMIT`)))).toBe(true);
    });
    expect(await counted('pg')).toBe(0);
    await client.query(insert(1));
    expect(await counted('pg')).toBe(1);
    await client.query(`DELETE FROM ${table}`);
    await client.end();
  });

  it('says that writes without a transaction stay', async () => {
    const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await run(async () => {
      await pool.query(insert(1));
      await pool.query(insert(2));
      expect(isHard(await failure(pool.query(insert(3))))).toBe(true);
    });
    expect(await counted('pg')).toBe(2);
    await pool.query(`DELETE FROM ${table}`);
    await pool.end();
  });

  it('asks whose the connection is, not who commits', async () => {
    const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    const client = await run(async () => {
      const one = await pool.connect();
      await one.query('BEGIN');
      for (let n = 0; n < 3; n++) await one.query(insert(n)).catch(() => undefined);
      return one;
    });
    expect(test.app.get(ContextService).isActive).toBe(false);
    expect(isHard(await failure(client.query('COMMIT')))).toBe(true);
    client.release();
    expect(await counted('pg')).toBe(0);
    await pool.end();
  });

  it('lets a lock of the session be given back, before the limit and beyond it', async () => {
    const pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    const [keeper, other] = [await pool.connect(), await pool.connect()];
    const unlocks = [
      'SELECT pg_advisory_unlock(4711)',
      'select pg_catalog.pg_advisory_unlock( $1::bigint ) AS unlocked -- 4711',
      'SELECT pg_advisory_unlock_all()',
    ];
    for (const unlock of unlocks) {
      for (const queries of [0, 1, 5]) {
        await test.app.get(Jobs).few(async () => {
          await keeper.query('SELECT pg_advisory_lock(4711)');
          for (let n = 0; n < queries; n++) await keeper.query('SELECT 1').catch(() => undefined);
          await keeper.query(unlock, unlock.includes('$1') ? [4711] : []);
        });
        const { rows } = await other.query('SELECT pg_try_advisory_xact_lock(4711) AS is_free');
        expect(rows).toEqual([{ is_free: true }]);
      }
    }
    keeper.release();
    other.release();
    await pool.end();
  });

  it('leaves what is kept apart to commit', async () => {
    const pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    await run(async () => {
      for (let n = 0; n < 3; n++) await pool.query(`SELECT 1; DELETE FROM ${table}`).catch(() => undefined);
      await test.app.get(ContextService).uncounted('audit', async () => {
        const client = await pool.connect();
        await client.query('BEGIN');
        await client.query(insert(7));
        await client.query('COMMIT');
        client.release();
      });
    });
    expect(await counted('pg')).toBe(1);
    await pool.query(`DELETE FROM ${table}`);
    await pool.end();
  });
});

describe.skipIf(!hasMariadb)('MariaDB', () => {
  afterAll(async () => {
    const connection = await mysqlPromises.createConnection(mariadbOptions);
    await connection.query(`DROP TABLE IF EXISTS ${table}`);
    await connection.end();
  });

  describe('mysql2, a pool', () =>
    keeps(async () => {
      const pool = mysqlPromises.createPool({ ...mariadbOptions, connectionLimit: 1 });
      let connection: mysqlPromises.PoolConnection;
      return {
        take: async () => (connection = await pool.getConnection()),
        begin: () => connection.beginTransaction(),
        commit: () => connection.commit(),
        send: text => connection.query(text),
        give: () => connection.release(),
        count: () => counted('mariadb'),
        end: () => pool.end(),
      };
    }));

  describe('mysql2, a connection with callbacks', () =>
    keeps(async () => {
      const connection = mysql.createConnection(mariadbOptions);
      return {
        begin: () => asPromise(done => connection.beginTransaction(done)),
        commit: () => asPromise(done => connection.commit(done)),
        send: text => asPromise(done => connection.query(text, done)),
        count: () => counted('mariadb'),
        end: () => asPromise(done => connection.end(done)),
      };
    }));

  describe('mysql2, prepared', () =>
    keeps(async () => {
      const connection = await mysqlPromises.createConnection(mariadbOptions);
      return {
        begin: () => connection.beginTransaction(),
        commit: () => connection.execute('COMMIT'),
        send: text => connection.query(text),
        count: () => counted('mariadb'),
        end: () => connection.end(),
      };
    }));

  describe('mariadb, a pool', () =>
    keeps(async () => {
      const pool = mariadb.createPool({ ...mariadbOptions, connectionLimit: 1 });
      let connection: mariadb.PoolConnection;
      return {
        take: async () => (connection = await pool.getConnection()),
        begin: () => connection.beginTransaction(),
        commit: () => connection.commit(),
        send: text => connection.query(text),
        give: () => connection.release(),
        count: () => counted('mariadb'),
        end: () => pool.end(),
      };
    }));

  describe('mariadb, a pool that resets nothing', () =>
    keeps(async () => {
      const pool = mariadb.createPool({ ...mariadbOptions, connectionLimit: 1, noControlAfterUse: true });
      let connection: mariadb.PoolConnection;
      return {
        take: async () => (connection = await pool.getConnection()),
        send: text => connection.query(text),
        give: () => connection.release(),
        count: () => counted('mariadb'),
        end: () => pool.end(),
      };
    }));

  describe('mariadb, a connection with callbacks', () =>
    keeps(async () => {
      const connection = mariadbCallbacks.createConnection(mariadbOptions);
      await asPromise(done => (connection as unknown as Connectable).connect(done));
      return {
        begin: () => asPromise(done => connection.beginTransaction(done as never)),
        commit: () => asPromise(done => connection.commit(done as never)),
        send: text => asPromise(done => connection.query(text, done as never)),
        count: () => counted('mariadb'),
        end: () => asPromise(done => connection.end(done as never)),
      };
    }));

  it('lets a lock of the session be given back', async () => {
    const other = await mysqlPromises.createConnection(mariadbOptions);
    const opens: readonly (() => Promise<Sending>)[] = [
      () => mysqlPromises.createConnection(mariadbOptions),
      () => mariadb.createConnection(mariadbOptions),
    ];
    for (const open of opens) {
      for (const unlock of ["SELECT RELEASE_LOCK('hard')", "DO RELEASE_LOCK('hard')"]) {
        const connection = await open();
        await test.app.get(Jobs).few(async () => {
          await connection.query("SELECT GET_LOCK('hard', 5)");
          for (let n = 0; n < 3; n++) await connection.query('SELECT 1').catch(() => undefined);
          await connection.query(unlock);
        });
        const [rows] = await other.query("SELECT IS_FREE_LOCK('hard') AS is_free");
        expect(rows).toEqual([{ is_free: 1 }]);
        await connection.end();
      }
    }
    await other.end();
  });

  it.each(['SET autocommit = 1', 'SET @a = 1, autocommit = 1', 'SET @a = 1, @@session.autocommit := 1'])(
    'lets %s through, and rolls back first',
    async text => {
      const opens: readonly (() => Promise<Sending>)[] = [
        () => mysqlPromises.createConnection(mariadbOptions),
        () => mariadb.createConnection(mariadbOptions),
      ];
      for (const open of opens) {
        const connection = await open();
        await run(async () => {
          await connection.query('SET autocommit = 0');
          for (let n = 0; n < 3; n++) await connection.query(insert(n)).catch(() => undefined);
          await failure(connection.query(text));
        });
        expect(await counted('mariadb')).toBe(0);
        await connection.query(insert(1));
        expect(await counted('mariadb')).toBe(1);
        await connection.query(`DELETE FROM ${table}`);
        await connection.end();
      }
    },
  );

  it('charges what follows in the callback of a BEGIN to who has begun', async () => {
    const ofMysql2 = mysql.createConnection(mariadbOptions);
    const ofMariadb = mariadbCallbacks.createConnection(mariadbOptions);
    await asPromise(done => (ofMariadb as unknown as Connectable).connect(done));
    type Query = (text: string, done: (error: unknown) => void) => unknown;
    for (const one of [ofMysql2, ofMariadb]) {
      const connection = one as unknown as { query: Query; beginTransaction(done: () => void): void };
      const send = (text: string): Promise<unknown> =>
        failure(asPromise(done => connection.query(text, done)));
      await run(async () => {
        for (let n = 0; n < 3; n++) await send(insert(n));
        await send(`ROLLBACK`);
        const begins: ((done: () => void) => unknown)[] = [
          done => connection.beginTransaction(done),
          done => connection.query('BEGIN', done),
        ];
        for (const begin of begins) {
          const error = await new Promise(resolve => {
            begin(() => connection.query(insert(7), resolve));
          });
          expect(isHard(error)).toBe(true);
        }
      });
      await send('COMMIT');
      expect(await counted('mariadb')).toBe(2);
      await send(`DELETE FROM ${table}`);
      await asPromise(done => (one as { end(done: unknown): void }).end(done));
    }
  });

  it('sends nothing of a text that writes and then sets autocommit', async () => {
    const opens: readonly (() => Promise<Sending>)[] = [
      () => mysqlPromises.createConnection({ ...mariadbOptions, multipleStatements: true }),
      () => mariadb.createConnection({ ...mariadbOptions, multipleStatements: true }),
    ];
    for (const open of opens) {
      const connection = await open();
      await run(async () => {
        await connection.query('BEGIN');
        for (let n = 0; n < 3; n++) await connection.query(insert(n)).catch(() => undefined);
        for (const text of [
          `${insert(3)}; SET autocommit = 1`,
          `BEGIN; ${insert(3)}`,
          `LOCK TABLES ${table} WRITE; SET @a = 1, @b = 2`,
        ])
          expect(isHard(await failure(connection.query(text)))).toBe(true);
        await connection.query('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN').catch(() => undefined);
        await connection.query('SET @a = 1; BEGIN');
      });
      await connection.query('COMMIT');
      expect(await counted('mariadb')).toBe(0);
      await connection.end();
    }
  });

  it.each(['/*! COMMIT */', '/*!40000 COMMIT */', '/*M! COMMIT */'])(
    'rolls back for %s, a comment that MySQL or MariaDB runs',
    async text => {
      const opens: readonly (() => Promise<Sending>)[] = [
        () => mysqlPromises.createConnection(mariadbOptions),
        () => mariadb.createConnection(mariadbOptions),
      ];
      for (const open of opens) {
        const connection = await open();
        await run(async () => {
          await connection.query('BEGIN');
          for (let n = 0; n < 3; n++) await connection.query(insert(n)).catch(() => undefined);
          expect(isHard(await failure(connection.query(text)))).toBe(true);
        });
        // What another one commits on the same connection is its own.
        await connection.query('COMMIT');
        expect(await counted('mariadb')).toBe(0);
        await connection.end();
      }
    },
  );
});

describe('a connection that is given back after the deadline', () => {
  it('is rolled back, also where nothing was asked for since', async () => {
    const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await pool.query(`CREATE TABLE IF NOT EXISTS ${table} (n int PRIMARY KEY)`);
    await test.app.get(Jobs).late(async () => {
      const client = await pool.connect();
      await client.query('BEGIN');
      await client.query(insert(1));
      await until(() => test.app.get(ContextService).remainingMs === 0, 'deadline');
      client.release();
    });
    const { rows } = await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`);
    expect(rows).toEqual([{ n: 0 }]);
    await pool.query(`DROP TABLE ${table}`);
    await pool.end();
  });
});

describe('mssql', () => {
  it('rolls back for a COMMIT that is refused, and goes on', async () => {
    const server = await startTdsServer();
    const mssql = await openPool(server, 1);
    for (let i = 0; i < 3; i++) {
      await run(async () => {
        const transaction = new sql.Transaction(mssql);
        let ended = 0;
        transaction.on('rollback', () => (ended += 1));
        await transaction.begin();
        const { _acquiredConnection: connection } = transaction as unknown as {
          _acquiredConnection: { readonly inTransaction: boolean };
        };
        expect(connection.inTransaction).toBe(true);
        const errors: unknown[] = [];
        for (let n = 0; n < 3; n++)
          errors.push(await failure(new sql.Request(transaction).query('INSERT INTO orders VALUES (1)')));
        expect(errors.map(isHard)).toEqual([false, false, true]);
        const error = await failure(transaction.commit());
        expect(isHard((error as { originalError?: unknown }).originalError ?? error)).toBe(true);
        expect(ended).toBe(0);
        expect(connection.inTransaction).toBe(false);
      });
    }
    // What is begun after the stop is refused inside, and ends.
    await run(async () => {
      for (let n = 0; n < 3; n++)
        await failure(new sql.Request(mssql).query('INSERT INTO orders VALUES (1)'));
      for (let n = 0; n < 5; n++) {
        const transaction = new sql.Transaction(mssql);
        await transaction.begin();
        expect(
          isHard(await failure(new sql.Request(transaction).query('INSERT INTO orders VALUES (1)'))),
        ).toBe(true);
        if (n % 2 === 0) await transaction.rollback();
        else expect(await failure(transaction.commit())).toBeDefined();
      }
    });
    // It is the same connection, and it is free.
    await run(async () => {
      const transaction = new sql.Transaction(mssql);
      await transaction.begin();
      await transaction.commit();
    });
    await mssql.close();
    await server.close();
  });
});
