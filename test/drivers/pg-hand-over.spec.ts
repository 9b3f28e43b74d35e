import { context as otelContext, trace } from '@opentelemetry/api';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { EventEmitter } from 'node:events';
import pg, { Client, Pool, type PoolConfig } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

const FOUR = 'SELECT n FROM generate_series(1, 4) AS n';
type AnyQuery = (this: unknown, ...args: unknown[]) => unknown;
const bare = Client.prototype.query as AnyQuery;

let test: TestApp;
let pool: Pool;
let unit = 0;

const settings = { connectionString: databaseUrl(), max: 1 };

/** What a query through the pool comes to. */
async function costOf(work: () => unknown): Promise<CostRecord['queries']> {
  const requestId = `unit-${(unit += 1)}`;
  await test.app.get(ContextService).run({ requestId }, work);
  const record = await until(
    () => test.sink.records.find(record => record.requestId === requestId),
    'record',
  );
  return record.queries;
}

beforeEach(async () => {
  test = await startApp({});
});
afterEach(async () => {
  await pool.end();
  await test.close();
});

describe('the query of a pool is counted once, with its rows,', () => {
  /** A client whose class does something of its own with what it is given. */
  function poolOf(query: (this: Client, send: AnyQuery, args: unknown[]) => unknown): Pool {
    class OwnClient extends Client {}
    OwnClient.prototype.query = function (this: Client, ...args: unknown[]) {
      return query.call(this, (...all) => (Client.prototype.query as AnyQuery).apply(this, all), args);
    } as never;
    return new Pool({ ...settings, Client: OwnClient } as PoolConfig);
  }

  const once = { count: 1, rows: 4, errors: 0, maxConcurrent: 1, transactions: 0 };

  it('where a subclass of the client sets a tenant first', async () => {
    pool = poolOf((send, args) => {
      void send("SET application_name = 'tenant'");
      return send(...args);
    });
    expect(await costOf(() => pool.query(FOUR))).toMatchObject({ ...once, transactions: 1 });
  });

  it('where a subclass of the client waits for something first', async () => {
    pool = poolOf(async (send, args) => {
      await send("SET application_name = 'tenant'");
      return send(...args);
    });
    const queries = await costOf(() => pool.query(FOUR));
    expect(queries).toMatchObject({ ...once, transactions: 1 });
    expect(queries.busyMs).toBeGreaterThan(0);
    // The next one on this connection is another query.
    expect(await costOf(() => pool.query('SELECT 1'))).toMatchObject({ count: 1, rows: 1 });
  });

  it('where a subclass of the client adds a comment', async () => {
    pool = poolOf((send, [text, ...rest]) => send(`${String(text)} /* from here */`, ...rest));
    expect(await costOf(() => pool.query(FOUR))).toMatchObject(once);
  });

  it('where a subclass of the client answers from its cache', async () => {
    pool = poolOf((_send, args) => process.nextTick(args[2] as () => void, undefined, { rows: [] }));
    const queries = await costOf(() => pool.query(FOUR));
    expect(queries).toMatchObject({ ...once, rows: 0 });
    expect(queries.busyMs).toBeGreaterThan(0);
  });

  it('where a subclass of the client throws, as an error', async () => {
    pool = poolOf(() => {
      throw new RangeError('not this one');
    });
    const refused = costOf(() => pool.query(FOUR).catch((error: unknown) => error));
    expect(await refused).toMatchObject({ ...once, rows: 0, errors: 1 });
  });

  it('where a subclass of the pool connects another pool first', async () => {
    const first = new Pool(settings);
    class OwnPool extends Pool {
      override connect(...args: unknown[]): never {
        first.connect((_error, client, release) => {
          void client!.query('SELECT 1').finally(() => release());
        });
        return (super.connect as AnyQuery)(...args) as never;
      }
    }
    pool = new OwnPool(settings);
    const queries = await costOf(async () => {
      await pool.query(FOUR);
      await first.end();
    });
    expect(queries.shapes.map(({ shape, count, rows }) => [shape, count, rows])).toEqual(
      expect.arrayContaining([
        ['SELECT n FROM generate_series(?, ?) AS n', 1, 4],
        ['SELECT ?', 1, 1],
      ]),
    );
    expect(queries).toMatchObject({ count: 2, rows: 5, errors: 0 });
  });

  it('where a listener of the pool sends something', async () => {
    pool = new Pool(settings);
    for (const event of ['connect', 'acquire'] as const) {
      pool.on(event, client => void client.query("SET application_name = 'listener'"));
    }
    expect(await costOf(() => pool.query(FOUR))).toMatchObject({ ...once, transactions: 2 });
  });

  it('where a listener of the client sends something', async () => {
    pool = new Pool(settings);
    await pool.query('SELECT 1');
    pool.on('acquire', client => {
      client.once('newListener', () => void client.query("SET application_name = 'listener'"));
    });
    expect(await costOf(() => pool.query(FOUR))).toMatchObject({ ...once, transactions: 1 });
  });

  it('where a method of one client is replaced, which is given what the application gave', async () => {
    pool = new Pool(settings);
    const given: unknown[] = [];
    pool.once('connect', client => {
      const { query } = client as unknown as { query: AnyQuery };
      (client as unknown as { query: AnyQuery }).query = function (...args) {
        given.push(args[0], test.app.get(ContextService).requestId);
        return query.apply(this, args);
      };
    });
    expect(await costOf(() => pool.query(FOUR))).toMatchObject(once);
    expect(given).toEqual([FOUR, `unit-${unit}`]);
  });

  it.each<[string, (client: Client) => object]>([
    ['one client', client => client],
    ['the class', client => Object.getPrototypeOf(client) as object],
  ])('where a method of %s is replaced, which waits for something first', async (_name, ownerOf) => {
    const owner = ownerOf(new Client()) as { query: AnyQuery };
    const known = Object.getOwnPropertyDescriptor(owner, 'query');
    const { query } = owner;
    const slow: AnyQuery = async function (...args) {
      await query.call(this, "SET application_name = 'tenant'");
      return query.apply(this, args);
    };
    // As the wrappers of dd-trace are made.
    Object.defineProperties(slow, Object.getOwnPropertyDescriptors(query));
    pool = new Pool(settings);
    if (known === undefined) pool.on('connect', client => void Object.assign(client, { query: slow }));
    else owner.query = slow;
    try {
      const queries = await costOf(() => pool.query(FOUR));
      expect(queries).toMatchObject({ ...once, transactions: 1 });
      expect(queries.busyMs).toBeGreaterThan(0);
      expect(await costOf(() => pool.query('SELECT 1'))).toMatchObject({ count: 1, rows: 1 });
    } finally {
      if (known !== undefined) owner.query = known.value as AnyQuery;
    }
  });

  it('where a method of one client is replaced, which answers from its cache', async () => {
    pool = new Pool(settings);
    const query: AnyQuery = (...args) => process.nextTick(args[2] as () => void, undefined, { rows: [] });
    pool.on('connect', client => void Object.assign(client, { query }));
    const queries = await costOf(() => pool.query(FOUR));
    expect(queries).toMatchObject({ ...once, rows: 0 });
    expect(queries.busyMs).toBeGreaterThan(0);
  });

  it('where somebody looks at what a client is at: a query of the driver', async () => {
    pool = new Pool(settings);
    const seen: unknown[] = [];
    pool.on('connect', client => {
      const { Query } = pg as unknown as { Query: new () => object };
      (client as unknown as EventEmitter).on('newListener', () => undefined);
      const { connection } = client as unknown as { connection: EventEmitter };
      connection.on('rowDescription', () => {
        const { _activeQuery: query } = client as unknown as { _activeQuery: object };
        seen.push(query instanceof Query, query.constructor.name, Object.keys(query));
      });
    });
    expect(await costOf(() => pool.query(FOUR))).toMatchObject(once);
    const { Query } = pg as unknown as { Query: new (text: string) => object };
    expect(seen).toEqual([true, 'Query', expect.arrayContaining(Object.keys(new Query(FOUR)))]);
  });

  it('where somebody has put something around the methods of the driver since', async () => {
    pool = new Pool(settings);
    const { prototype } = (pg as unknown as { Query: { prototype: Record<string, AnyQuery> } }).Query;
    const seen: string[] = [];
    const names = ['handleReadyForQuery', 'handleError'] as const;
    const known = names.map(name => [name, prototype[name]!] as const);
    for (const [name, original] of known) {
      prototype[name] = function (...args) {
        seen.push(name);
        return original.apply(this, args);
      };
    }
    try {
      expect(await costOf(() => pool.query(FOUR))).toMatchObject(once);
      const refused = await costOf(() => pool.query('SELECT * FROM no_such_table').catch(() => undefined));
      expect(refused).toMatchObject({ count: 1, errors: 1 });
    } finally {
      for (const [name, original] of known) prototype[name] = original;
    }
    expect(seen).toEqual(names);
  });

  it('where it takes longer than its timeout, as an error', async () => {
    pool = new Pool(settings);
    const slow = { text: 'SELECT pg_sleep(0.3)', query_timeout: 20 };
    expect(await costOf(() => pool.query(slow).catch(() => undefined))).toMatchObject({
      count: 1,
      errors: 1,
    });
    expect(await costOf(() => pool.query(FOUR))).toMatchObject(once);
  });

  it('where its first connection cannot be made, as an error', async () => {
    pool = new Pool({ ...settings, port: 1, connectionString: 'postgres://postgres@127.0.0.1:1/none' });
    const refused = costOf(() => pool.query(FOUR).catch((error: unknown) => error));
    expect(await refused).toMatchObject({ ...once, rows: 0, errors: 1 });
  });

  it('where its client cannot be made, as an error', async () => {
    class NoClient extends Client {
      constructor() {
        super();
        throw new RangeError('no client');
      }
    }
    pool = new Pool({ ...settings, Client: NoClient } as PoolConfig);
    let thrown: unknown;
    const queries = await costOf(() => {
      try {
        void pool.query(FOUR);
      } catch (error) {
        thrown = error;
      }
    });
    expect(thrown).toEqual(new RangeError('no client'));
    expect(queries).toMatchObject({ count: 1, errors: 1 });
  });

  it('where the pool has been ended, as an error', async () => {
    pool = new Pool(settings);
    const ended = new Pool(settings);
    await ended.end();
    const refused = costOf(() => ended.query(FOUR).catch((error: unknown) => error));
    expect(await refused).toMatchObject({ ...once, rows: 0, errors: 1 });
  });
});

it('leaves alone a pool of clients that are not those of pg', async () => {
  class Foreign extends EventEmitter {
    connect(callback: () => void): void {
      process.nextTick(callback);
    }
    query(_text: string, _values: unknown, callback: (error: undefined, result: unknown) => void): void {
      process.nextTick(callback, undefined, { rows: ['theirs'] });
    }
    end(callback: () => void): void {
      process.nextTick(callback);
    }
  }
  pool = new Pool({ ...settings, Client: Foreign } as never);
  let rows: unknown;
  const queries = await costOf(async () => {
    ({ rows } = await pool.query(FOUR));
  });
  expect(rows).toEqual(['theirs']);
  expect(queries).toMatchObject({ count: 0, maxConcurrent: 0 });
});

describe.each(['before', 'after'] as const)('with OpenTelemetry enabled %s this package', order => {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });

  it.each<[string, ConstructorParameters<typeof PgInstrumentation>[0]]>([
    ['as it comes', {}],
    [
      'with comments and its context in the session',
      { addSqlCommenterCommentToQueries: true, enableTraceContextPropagation: true },
    ],
  ])('counts once, gives one span a query and the same results: %s', async (_name, config) => {
    provider.register();
    const patched = new PgInstrumentation({ ...config, enabled: false });
    patched.setTracerProvider(provider);
    // What its hook of require() would do when pg is loaded.
    const patch = (patched as unknown as { init(): { patch: Patch; unpatch: Patch; name: string }[] })
      .init()
      .find(({ name }) => name === 'pg')!;
    const enable = (): void => void patch.patch(pg, '8.23.1');
    if (order === 'before') {
      await test.close();
      enable();
      test = await startApp({});
    } else {
      enable();
    }
    pool = new Pool(settings);
    const client = new Client(settings);
    await client.connect();
    const results: unknown[] = [];
    const queries = await costOf(() =>
      otelContext.with(
        trace.setSpan(otelContext.active(), provider.getTracer('test').startSpan('root')),
        async () => {
          const keep = ({ rows }: { rows: unknown[] }): void => void results.push(rows[0]);
          keep(await pool.query('SELECT 1 AS a, 2 AS b'));
          keep(await client.query({ text: 'SELECT $1::int AS a, 2 AS b', values: [1], rowMode: 'array' }));
          keep(await pool.query({ text: 'SELECT 1 AS a, 2 AS b', rowMode: 'array' }));
          await new Promise<void>(resolve =>
            client.query('SELECT 1 AS a, 2 AS b', (_error: unknown, result: { rows: unknown[] }) => {
              keep(result);
              resolve();
            }),
          );
          await client.query('SELECT * FROM no_such_table').catch((error: unknown) => results.push(error));
        },
      ),
    );
    expect(results).toMatchObject([{ a: 1, b: 2 }, [1, 2], [1, 2], { a: 1, b: 2 }, { code: '42P01' }]);
    expect(queries).toMatchObject({ count: 5, rows: 4, errors: 1, maxConcurrent: 1 });
    const spans = exporter.getFinishedSpans().filter(({ name }) => name.startsWith('pg.query'));
    expect(spans).toHaveLength(5);
    await client.end();
    await test.close();
    patch.unpatch(pg, '8.23.1');
    exporter.reset();
    test = await startApp({});
    expect((await costOf(() => pool.query(FOUR))).count).toBe(1);
    await test.close();
    expect(Client.prototype.query).toBe(bare);
    otelContext.disable();
    trace.disable();
    test = await startApp({});
  });
});

type Patch = (module: unknown, version?: string) => unknown;
