import { isRefusal } from '../../../lib/sinks/postgres/postgres-connection';
import { connect, createServer, type Server, type Socket, type AddressInfo } from 'node:net';
import { Logger } from '@nestjs/common';
import { Client, Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { CostRecord, SinkFailure } from 'nestjs-async-context';
import {
  migratePostgres,
  postgresMigrations,
  PostgresSink,
  type PostgresSinkOptions,
} from 'nestjs-async-context/postgres';
import { hasPostgresBinary, PostgresServer } from '../../support/postgres-server';
import { recordOf } from '../../support/records';

const NOW = new Date().toISOString();
const now = (requestId: string, more: Partial<CostRecord> = {}): CostRecord =>
  recordOf(requestId, {}, { startedAt: NOW, ...more });
const many = (count: number, from = 0): CostRecord[] =>
  Array.from({ length: count }, (_, i) => now(String(from + i)));

describe.skipIf(!hasPostgresBinary)('PostgresSink', () => {
  let server: PostgresServer;
  let tables = 0;
  let table: string;
  const closing: (() => unknown)[] = [];

  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(() => server.remove());
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  /** A sink that writes to a table of its own. */
  function sinkOf(options: PostgresSinkOptions = {}): PostgresSink {
    table = options.table ?? `records_${(tables += 1)}`;
    const sink = new PostgresSink({ connection: server.url, table, migrate: true, ...options });
    closing.push(() => sink.close());
    return sink;
  }
  const ids = async (): Promise<string[]> => {
    const rows = await server.query<{ request_id: string }>(`SELECT request_id FROM ${table} ORDER BY ctid`);
    return rows.map(row => row.request_id);
  };
  const partitions = async (): Promise<string[]> => {
    const rows = await server.query<{ name: string }>(
      `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = '${table}'::regclass ORDER BY 1`,
    );
    return rows.map(({ name }) => name);
  };
  const failureOf = (write: Promise<void>): Promise<SinkFailure> =>
    write.then(
      () => {
        throw new Error('it did not fail');
      },
      (error: SinkFailure) => error,
    );

  it('has a column for each of the main figures, and the whole record', async () => {
    const record = recordOf(
      'one',
      { count: 7, errors: 1, writes: 2, rows: 3_000_000_000, durationMs: 12.5, waitMs: 0.25 },
      {
        startedAt: '2026-11-20T12:00:00.123Z',
        traceId: '0af7651916cd43dd8448eb211c80319c',
        handler: 'OrdersController.list',
        route: 'GET /orders/:id',
        method: 'GET',
        status: 200,
        userId: 'me',
        slow: { because: 'database', ms: 10, culprits: ['SELECT 1'] },
        breaches: [{ dimension: 'queries', used: 7, limit: 5, from: 'forRoot({ budget })' }],
        weight: 10,
      },
    );
    await sinkOf().write([record, now('two')]);
    const [row, other] = await server.query<Record<string, unknown>>(
      `SELECT * FROM ${table} ORDER BY request_id`,
    );
    expect(row).toMatchObject({
      started_at: new Date('2026-11-20T12:00:00.123Z'),
      request_id: 'one',
      trace_id: '0af7651916cd43dd8448eb211c80319c',
      parent_request_id: null,
      kind: 'http',
      handler: 'OrdersController.list',
      route: 'GET /orders/:id',
      status: 200,
      aborted: false,
      error: null,
      duration_ms: 1,
      own_ms: 1,
      queries: '7',
      query_errors: '1',
      writes: '2',
      rows: '3000000000',
      query_ms: 12.5,
      wait_ms: 0.25,
      slow_because: 'database',
      breaches: '1',
      weight: 10,
      record: JSON.parse(JSON.stringify(record)) as unknown,
    });
    expect(other).toMatchObject({ request_id: 'two', handler: null, breaches: '0', weight: 1, http: '0' });
  });

  it.each([
    ['backslashes, tabs and ends of lines', 'a\\b\tc\nd\re\\.\\N\\\\n', undefined],
    ['a text that is a null', '\\N', undefined],
    ['quotes and the end of a COPY', '"\'\\.\n\\.\n', undefined],
    ['signs of all planes', 'ä€😀\u2028\u0085', undefined],
    ['a NUL', 'a\0b', 'a\uFFFDb'],
    ['half a pair', 'a\uD800b\uDC00', 'a\uFFFDb\uFFFD'],
    ['what looks like an escape', String.raw`\u0000 \ud800`, undefined],
  ])('stores %s', async (_name, text, stored = text) => {
    const shapes = [{ shape: text, count: 1, durationMs: 1, rows: 1 }];
    const byTable = { [text]: { count: 1, durationMs: 1, rows: 1 } };
    const record = recordOf('one', { shapes, byTable }, { startedAt: NOW, userId: text, error: text });
    await sinkOf().write([record, now('two')]);
    const [row] = await server.query<{ user_id: string; error: string; record: CostRecord }>(
      `SELECT * FROM ${table} WHERE request_id = 'one'`,
    );
    expect(row).toMatchObject({ user_id: stored, error: stored });
    expect(row!.record).toMatchObject({ userId: stored, error: stored });
    expect(row!.record.queries.shapes[0]!.shape).toBe(stored);
    expect(Object.keys(row!.record.queries.byTable)).toEqual([stored]);
    expect(await ids()).toEqual(['one', 'two']);
  });

  it('takes the name of any table in any schema', async () => {
    await server.query('CREATE SCHEMA "odd ""schema\'"');
    const name = `odd "schema'.the 'records' of "${'x'.repeat(30)}"`;
    const sink = new PostgresSink({ connection: server.url, table: name, migrate: true, retainMonths: 1 });
    closing.push(() => sink.close());
    await sink.write([now('one')]);
    table = `"odd ""schema'"."the 'records' of ""${'x'.repeat(30)}"""`;
    expect(await ids()).toEqual(['one']);
  });

  it('holds one session, and keeps no process alive', async () => {
    const sink = sinkOf();
    for (let i = 0; i < 5; i++) await sink.write(many(3));
    const sessions = await server.query(
      `SELECT 1 FROM pg_stat_activity WHERE application_name = 'nestjs-async-context'`,
    );
    expect(sessions).toHaveLength(1);
    const port = String(server.port);
    const sockets = process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap');
    expect(port).not.toBe('');
    expect(sockets).toEqual([]);
  });

  it('takes and gives back connections of a pool', async () => {
    const pool = new Pool({ connectionString: server.url, max: 1 });
    closing.push(() => pool.end());
    const sink = sinkOf({ pool });
    await sink.write(many(3));
    expect(pool.idleCount).toBe(1);
    await pool.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => undefined);
    await sink.write(many(3, 3));
    expect(await ids()).toEqual(['0', '1', '2', '3', '4', '5']);
    const [listeners] = [await pool.connect()].map(client => {
      const count = client.listenerCount('error');
      client.release();
      return count;
    });
    expect(listeners).toBeLessThanOrEqual(1);
  });

  it('gives up a pool that has no connection for it', async () => {
    const pool = new Pool({ connectionString: server.url, max: 1 });
    closing.push(() => pool.end());
    const sink = sinkOf({ pool, connectTimeoutMs: 50 });
    const held = await pool.connect();
    await expect(sink.write(many(1))).rejects.toThrow('waiting for a connection of the pool');
    held.release();
    await vi.waitFor(() => expect(pool.idleCount).toBe(1));
    await sink.write(many(1));
  });

  it('refuses a schema that is not there, and writes once it is', async () => {
    const sink = sinkOf({ migrate: false });
    expect(await failureOf(sink.write(many(2)))).toMatchObject({ delivered: 0, rejected: 0 });
    const client = new Client({ connectionString: server.url });
    await client.connect();
    expect(await migratePostgres(client, { table })).toEqual([1]);
    expect(await migratePostgres(client, { table })).toEqual([]);
    await client.end();
    await sink.write(many(2));
    expect(await ids()).toEqual(['0', '1']);
  });

  it('is migrated once when many do so at once', async () => {
    table = `records_${(tables += 1)}`;
    const pool = new Pool({ connectionString: server.url });
    closing.push(() => pool.end());
    const runs = await Promise.all(Array.from({ length: 8 }, () => migratePostgres(pool, { table })));
    expect(runs.flat()).toEqual([1]);
  });

  it('can be migrated by hand, and written to by a role that owns nothing', async () => {
    table = `records_${(tables += 1)}`;
    for (const { sql } of postgresMigrations({ table })) await server.query(sql);
    await server.query(`CREATE ROLE writer_${table} LOGIN`);
    await server.query(`GRANT INSERT, SELECT ON ${table} TO writer_${table};
      GRANT EXECUTE ON FUNCTION ${table}_partition(date), ${table}_retain(integer) TO writer_${table}`);
    const url = server.url.replace('postgres@', `writer_${table}@`);
    const sink = new PostgresSink({ connection: url, table, retainMonths: 3 });
    closing.push(() => sink.close());
    await sink.write(many(2));
    expect(await ids()).toEqual(['0', '1']);
    await server.query(`CREATE ROLE nobody_${table} LOGIN`);
    const stranger = new Client({ connectionString: server.url.replace('postgres@', `nobody_${table}@`) });
    await stranger.connect();
    await expect(stranger.query(`SELECT ${table}_retain(0)`)).rejects.toMatchObject({ code: '42501' });
    await stranger.end();
  });

  describe('partitions', () => {
    it('are there for each month of a batch, and two weeks ahead', async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: new Date('2027-01-17T23:00:00Z') });
      const sink = sinkOf();
      const edges = ['2026-12-31T23:59:59.999Z', '2027-01-01T00:00:00.000Z'];
      await sink.write(edges.map((startedAt, i) => now(String(i), { startedAt })));
      expect(await partitions()).toEqual([`${table}_2026_12`, `${table}_2027_01`]);
      expect(await server.query(`SELECT request_id FROM ${table}_2027_01`)).toEqual([{ request_id: '1' }]);
      vi.setSystemTime(new Date('2027-01-18T00:00:00Z'));
      await sink.write([now('2', { startedAt: '2027-01-18T00:00:00.000Z' })]);
      expect(await partitions()).toEqual([`${table}_2026_12`, `${table}_2027_01`, `${table}_2027_02`]);
    });

    it('of whole months that are over for longer than retainMonths are dropped', async () => {
      const sink = sinkOf({ retainMonths: 2 });
      const month = (back: number): string => {
        const date = new Date();
        date.setUTCDate(1);
        date.setUTCMonth(date.getUTCMonth() - back);
        return date.toISOString().slice(0, 7);
      };
      const nameOf = (back: number): string => `${table}_${month(back).replace('-', '_')}`;
      await sink.write(
        [0, 1, 2, 3, 4].map(back => now('x', { startedAt: `${month(back)}-01T00:00:00.000Z` })),
      );
      const left = await partitions();
      expect(left).toEqual(expect.arrayContaining([0, 1, 2].map(nameOf)));
      expect(left).not.toEqual(expect.arrayContaining([nameOf(3)]));
      expect(left).not.toEqual(expect.arrayContaining([nameOf(4)]));
    });

    it('are made once when many instances do so at once', async () => {
      await sinkOf().write([]);
      const sinks = Array.from({ length: 8 }, () => new PostgresSink({ connection: server.url, table }));
      await Promise.all(sinks.map(sink => sink.write(many(5))));
      for (const sink of sinks) sink.close();
      expect(await ids()).toHaveLength(40);
    });

    it('have the indexes of the table, which its questions use', async () => {
      await sinkOf().write(many(10));
      const indexes = await server.query<{ indexdef: string }>(
        `SELECT indexdef FROM pg_indexes WHERE tablename = '${table}_${NOW.slice(0, 7).replace('-', '_')}'`,
      );
      const text = indexes.map(({ indexdef }) => indexdef).join('\n');
      expect(text).toContain('(handler, started_at)');
      expect(text).toContain('WHERE (breaches > 0)');
      expect(text).toContain('brin (started_at)');
    });

    it('are none with partitions: false', async () => {
      await sinkOf({ partitions: false }).write(many(3));
      expect(await partitions()).toEqual([]);
      expect(await ids()).toEqual(['0', '1', '2']);
      const sql = postgresMigrations({ partitions: false }).map(step => step.sql);
      expect(sql.join()).not.toMatch(/PARTITION|FUNCTION|brin/i);
    });
  });

  describe('a record that the table refuses', () => {
    it.each([
      [[0], 9],
      [[4], 9],
      [[9], 9],
      [[2, 3, 8], 7],
      [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0],
    ])('is left out, alone: %j of ten', async (bad, delivered) => {
      const sink = sinkOf();
      await sink.write([]);
      await server.query(`ALTER TABLE ${table} ADD CONSTRAINT no_vip CHECK (user_id <> 'vip')`);
      await server.query(`ALTER TABLE ${table} ADD CONSTRAINT few CHECK (status < 600)`);
      await server.query(`ALTER TABLE ${table} ALTER status TYPE smallint`);
      const records = many(10).map((record, i) => (bad.includes(i) ? { ...record, status: 70_000 } : record));
      expect(await failureOf(sink.write(records))).toMatchObject({
        code: '22003',
        delivered,
        rejected: bad.length,
      });
      const good = records.map(({ requestId }) => requestId).filter(id => !bad.includes(Number(id)));
      expect(await ids()).toEqual(good);
    });
  });

  describe('with a connection that fails', () => {
    /** Stands between the sink and the server. */
    class Between {
      mode: 'pass' | 'loseAnswers' | 'swallow' | 'refuse' = 'pass';
      readonly #sockets = new Set<Socket>();
      readonly #server: Server = createServer(client => {
        if (this.mode === 'refuse') client.destroy();
        const upstream = connect(server.port, '127.0.0.1');
        for (const socket of [client, upstream]) {
          this.#sockets.add(socket);
          socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
        }
        client.on('data', data => this.mode !== 'swallow' && upstream.write(data));
        upstream.on('data', data => {
          // The answer to a COPY is there, and never arrives.
          if (this.mode === 'loseAnswers' && data.includes('COPY ')) client.destroy();
          else client.write(data);
        });
        client.once('close', () => setTimeout(() => upstream.destroy(), 50));
        upstream.once('close', () => client.destroy());
      });

      async start(): Promise<string> {
        await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve));
        const { port } = this.#server.address() as AddressInfo;
        closing.push(() => this.stop());
        return `postgres://postgres@127.0.0.1:${port}/postgres`;
      }

      cut(): void {
        for (const socket of this.#sockets) socket.destroy();
      }

      stop(): void {
        this.cut();
        this.#server.close();
      }
    }

    it.each([true, false])('has no row twice whose answer was lost (partitions: %s)', async hasPartitions => {
      const between = new Between();
      const sink = sinkOf({ connection: await between.start(), partitions: hasPartitions });
      const records = many(100);
      await sink.write(records.slice(0, 10));
      between.mode = 'loseAnswers';
      const rest = records.slice(10);
      expect(await failureOf(sink.write(rest))).toMatchObject({ delivered: 0, rejected: 0 });
      expect(await ids()).toHaveLength(100);
      between.mode = 'pass';
      await sink.write(rest);
      await sink.write(many(5, 100));
      expect(await ids()).toEqual(many(105).map(({ requestId }) => requestId));
    });

    it('waits for a transaction that goes on without it, and has no row twice', async () => {
      const between = new Between();
      const sink = sinkOf({ connection: await between.start() });
      await sink.write(many(1));
      const locker = new Client({ connectionString: server.url });
      await locker.connect();
      // The rows are sent by the time that the server stops at the lock.
      await locker.query(`BEGIN; LOCK TABLE ${table}_${NOW.slice(0, 7).replace('-', '_')} IN SHARE MODE`);
      const rest = many(10, 1);
      const cut = sink.write(rest);
      const isBlocked = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
      await vi.waitFor(async () => expect(await server.query(isBlocked)).toHaveLength(1));
      between.cut();
      await expect(cut).rejects.toThrow();
      const again = sink.write(rest);
      await vi.waitFor(async () => expect(await server.query(isBlocked)).toHaveLength(2));
      await locker.end();
      await again;
      expect(await ids()).toEqual(many(11).map(({ requestId }) => requestId));
    });

    it('writes again what was not in the table after all', async () => {
      const between = new Between();
      const sink = sinkOf({ connection: await between.start(), statementTimeoutMs: 300 });
      await sink.write(many(1));
      between.mode = 'swallow';
      const rest = many(10, 1);
      await expect(sink.write(rest)).rejects.toThrow('a statement took longer than 2300 ms');
      between.mode = 'pass';
      await sink.write(rest);
      expect(await ids()).toHaveLength(11);
    });

    it('opens another one after an end of the server, of the session, or of the connection', async () => {
      const between = new Between();
      const sink = sinkOf({ connection: await between.start() });
      await sink.write(many(1));
      between.cut();
      await vi.waitFor(() => sink.write(many(1, 1)));
      await server.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nestjs-async-context'`,
      );
      await vi.waitFor(() => sink.write(many(1, 2)));
      expect(new Set(await ids())).toEqual(new Set(['0', '1', '2']));
    });

    it('waits no longer than connectTimeoutMs for one', async () => {
      const between = new Between();
      const url = await between.start();
      between.mode = 'swallow';
      const sink = sinkOf({ connection: url, connectTimeoutMs: 100 });
      await expect(sink.write(many(1))).rejects.toThrow(/timeout|longer/);
    });

    it('is closed although it hangs', async () => {
      const between = new Between();
      const sink = sinkOf({ connection: await between.start() });
      await sink.write(many(1));
      between.mode = 'swallow';
      const write = sink.write(many(1));
      await new Promise(resolve => setTimeout(resolve, 20));
      sink.close();
      await expect(write).rejects.toThrow();
    });
  });

  it('reports that partitions cannot be made ahead, and writes', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2027-01-20T00:00:00Z') });
    const sink = sinkOf();
    await sink.write([]);
    await server.query(`DROP TABLE ${table}_2027_02; CREATE TABLE ${table}_2027_02_ahead (LIKE ${table});
      ALTER TABLE ${table} ATTACH PARTITION ${table}_2027_02_ahead FOR VALUES FROM ('2027-02-01 00:00:00+00') TO ('2027-02-02 00:00:00+00')`);
    const another = new PostgresSink({ connection: server.url, table });
    closing.push(() => another.close());
    await another.write([now('0', { startedAt: '2027-01-20T00:00:00.000Z' })]);
    expect(await ids()).toEqual(['0']);
    expect(warn.mock.calls.join()).toContain(`partitions of postgres "public"."${table}" failed`);
  });

  it.each<[object, string]>([
    [{ table: '' }, 'table'],
    [{ table: 'a.b.c' }, 'table'],
    [{ table: 'x'.repeat(51) }, 'table'],
    [{ table: 5 }, 'table'],
    [{ connection: 5 }, 'connection'],
    [{ pool: {} }, 'pool'],
    [{ partitions: 'monthly' }, 'partitions'],
    [{ migrate: 1 }, 'migrate'],
    [{ retainMonths: 0 }, 'retainMonths'],
    [{ retainMonths: 1_201 }, 'retainMonths'],
    [{ connectTimeoutMs: 0 }, 'connectTimeoutMs'],
    [{ statementTimeoutMs: 1.5 }, 'statementTimeoutMs'],
    [{ url: 'x' }, 'url'],
  ])('refuses %j', (options, name) => {
    expect(() => new PostgresSink(options)).toThrow(
      `ASYNC_CONTEXT_INVALID_OPTION: new PostgresSink({ ${name} }) is `,
    );
  });

  it.each<object>([
    {},
    {
      table: `s.${'x'.repeat(50)}`,
      retainMonths: 1_200,
      connectTimeoutMs: 1,
      statementTimeoutMs: 2_147_000_000,
    },
  ])('accepts %j', options => {
    expect(() => new PostgresSink(options)).not.toThrow();
  });
});

describe('what a server says of a statement', () => {
  it.each([
    ['a refusal in German', { severity: 'FEHLER', code: '23514' }, true],
    ['a refusal', { severity: 'ERROR', code: '22021' }, true],
    ['an end by the administrator', { severity: 'FATAL', code: '57P01' }, false],
    ['a crash', { severity: 'PANIC', code: 'XX000' }, false],
    ['a socket', { code: 'EPIPE' }, false],
    ['nothing', undefined, false],
  ])('is known by its code: %s', (_name, error, expected) => {
    expect(isRefusal(error)).toBe(expected);
  });
});

describe('the functions of the schema', () => {
  it('stand in quotes that no name ends', () => {
    const table = 'a$body$; DROP TABLE x; --';
    for (const { sql } of postgresMigrations({ table })) {
      expect(sql).not.toContain('AS $body$');
      expect(sql.match(/\$body0\$/g)).toHaveLength(4);
    }
  });
});
