import { Client as ModuleClient } from '@elastic/elasticsearch';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { elasticsearchInstrumentation } from '../../lib/drivers/elasticsearch/elasticsearch.driver';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { type ElasticsearchServer, startElasticsearch } from '../support/elasticsearch-server';
import { startApp, type TestApp, until } from '../support/platforms';

const commonJs = createRequire(import.meta.url)('@elastic/elasticsearch') as { Client: typeof ModuleClient };
const builds = [
  ['ES module', ModuleClient],
  ['CommonJS', commonJs.Client],
] as const;

let test: TestApp;
let server: ElasticsearchServer;
let client: ModuleClient;
let unit = 0;

beforeAll(async () => {
  server = await startElasticsearch();
  test = await startApp({ instrumentations: [elasticsearchInstrumentation(), httpInstrumentation()] });
});
afterAll(async () => {
  await test.close();
  await server.close();
});

async function recordOf(work: () => unknown): Promise<CostRecord> {
  const requestId = `unit-${(unit += 1)}`;
  await test.app.get(ContextService).run({ requestId }, work);
  return until(() => test.sink.records.find(record => record.requestId === requestId), 'record');
}

async function costOf(work: () => unknown) {
  const { queries, http } = await recordOf(work);
  const { count, rows, writes, transactions, errors, bytes, shapes } = queries;
  return {
    count,
    rows,
    writes,
    transactions,
    errors,
    bytes,
    table: shapes[0]?.table,
    shape: shapes[0]?.shape,
    http: http?.count ?? 0,
  };
}

type Expected = Partial<Awaited<ReturnType<typeof costOf>>>;

describe.each(builds)('a request of @elastic/elasticsearch as %s', (build, Client) => {
  const tag = `${build === 'CommonJS' ? 'cjs' : 'esm'}-${process.pid}`;
  const orders = `orders-${tag}`;
  const items = `items-${tag}`;

  beforeAll(async () => {
    client = new Client({ node: server.url, maxRetries: 2 });
    const seed = (index: string, n: number) =>
      client.index({ index, id: String(n), document: { customer: n % 2 } });
    for (let n = 1; n <= 7; n++) await seed(orders, n);
    for (let n = 1; n <= 3; n++) await seed(items, n);
  });
  afterAll(() => client.close());

  it.each<[string, () => Promise<unknown>, Expected]>([
    ['search', () => client.search({ index: orders }), { rows: 7, table: orders, shape: `search ${orders}` }],
    [
      'search with a query',
      () => client.search({ index: orders, query: { term: { customer: 1 } }, size: 2 }),
      { rows: 2, table: orders, shape: `search ${orders}` },
    ],
    [
      'search of several indices',
      () => client.search({ index: [orders, items], size: 100 }),
      { rows: 10, table: `${orders},${items}`, shape: `search ${orders},${items}` },
    ],
    ['search of all', () => client.search({ size: 1 }), { rows: 1, table: undefined, shape: 'search' }],
    ['get', () => client.get({ index: orders, id: '1' }), { rows: 1, table: orders, shape: `get ${orders}` }],
    [
      'get of nothing that is ignored',
      () => client.get({ index: orders, id: 'secret' }, { ignore: [404] }),
      { rows: 0, table: orders },
    ],
    ['exists', () => client.exists({ index: orders, id: '1' }), { rows: 0, shape: `exists ${orders}` }],
    [
      'an index that is made of data',
      () => client.exists({ index: `${orders},carts-507f1f77bcf86cd799439011`, id: '1' }),
      { rows: 0, table: `${orders},?`, shape: `exists ${orders},?` },
    ],
    [
      'mget',
      () => client.mget({ index: orders, ids: ['1', '2', 'x'] }),
      { rows: 2, shape: `mget ${orders}` },
    ],
    ['count', () => client.count({ index: orders }), { rows: 0, shape: `count ${orders}` }],
    [
      'msearch',
      () => client.msearch({ searches: [{ index: orders }, { size: 5 }, { index: items }, {}] }),
      { rows: 8, table: undefined, shape: 'msearch' },
    ],
    [
      'ES|QL',
      () => client.esql.query({ query: "FROM orders | WHERE a == 'secret'" }),
      { rows: 3, shape: 'esql.query' },
    ],
    [
      'index',
      () => client.index({ index: items, id: '9', document: { n: 9 } }),
      { rows: 1, writes: 1, table: items, shape: `index ${items}` },
    ],
    [
      'create',
      () => client.create({ index: items, id: '8', document: {} }),
      { rows: 1, writes: 1, shape: `create ${items}` },
    ],
    [
      'update',
      () => client.update({ index: items, id: '8', doc: {} }),
      { rows: 1, writes: 1, shape: `update ${items}` },
    ],
    [
      'delete',
      () => client.delete({ index: items, id: '8' }),
      { rows: 1, writes: 1, shape: `delete ${items}` },
    ],
    [
      'bulk',
      () =>
        client.bulk({
          index: items,
          operations: [{ index: { _id: '9' } }, { n: 1 }, { delete: { _id: '9' } }],
        }),
      { rows: 2, writes: 1, table: items, shape: `bulk ${items}` },
    ],
    [
      'bulk with an item that fails',
      () => client.bulk({ index: items, operations: [{ create: { _id: '1' } }, { n: 1 }] }),
      { rows: 1, writes: 1, table: items },
    ],
    [
      'update by query',
      () => client.updateByQuery({ index: orders }),
      { rows: 7, writes: 1, shape: `update_by_query ${orders}` },
    ],
    [
      'delete by query',
      () => client.deleteByQuery({ index: `none-${tag}`, query: { match_all: {} } }),
      { rows: 0, writes: 1 },
    ],
    [
      'creating an index',
      () => client.indices.create({ index: 'new' }),
      { rows: 0, writes: 1, shape: 'indices.create new' },
    ],
    [
      'refresh',
      () => client.indices.refresh({ index: orders }),
      { rows: 0, shape: `indices.refresh ${orders}` },
    ],
    [
      'search with its meta',
      () => client.search({ index: orders }, { meta: true }),
      { rows: 7, shape: `search ${orders}` },
    ],
    [
      'search by the transport',
      () => client.transport.request({ method: 'POST', path: `/${orders}/_search`, body: { size: 3 } }),
      { rows: 3, table: orders, shape: `search ${orders}` },
    ],
    [
      'a document by the transport',
      () => client.transport.request({ method: 'GET', path: `/${orders}/_doc/1?secret=secret` }),
      { rows: 1, table: orders, shape: `get ${orders}` },
    ],
    [
      'writing by the transport',
      () => client.transport.request({ method: 'PUT', path: `/${items}/_doc/9`, body: { secret: 1 } }),
      { rows: 1, writes: 1, table: items, shape: `index ${items}` },
    ],
    [
      'a path by the transport',
      () => client.transport.request({ method: 'GET', path: '/_cat/secret/secret' }),
      { rows: 0, table: undefined, shape: 'GET /_cat/?/?' },
    ],
  ])('%s is counted with its documents, and not as outbound HTTP', async (_name, send, expected) => {
    const before = server.sent();
    const cost = await costOf(send);
    expect(cost).toMatchObject({ count: 1, writes: 0, errors: 0, transactions: 0, http: 0, ...expected });
    if (cost.shape !== `exists ${orders}`) expect(cost.bytes).toBe(server.sent() - before);
  });

  it.each<[string, () => Promise<unknown>, Expected]>([
    [
      'asks for what is not there',
      () => client.get({ index: orders, id: 'none' }),
      { shape: `get ${orders}` },
    ],
    [
      'is refused',
      () => client.transport.request({ method: 'GET', path: '/_no_such' }),
      { shape: 'no_such' },
    ],
    ['the server cannot answer', () => client.search({ index: 'broken-a' }), { table: 'broken-a' }],
    [
      'takes longer than its timeout',
      () => client.search({ index: 'slow-a' }, { requestTimeout: 20, maxRetries: 0 }),
      {},
    ],
    [
      'is aborted',
      () => client.search({ index: 'slow-a' }, { signal: AbortSignal.timeout(20), maxRetries: 0 }),
      {},
    ],
    ['breaks off', () => client.search({ index: 'cut-a' }, { maxRetries: 0 }), {}],
    [
      'cannot be connected',
      () => new Client({ node: 'http://127.0.0.1:1', maxRetries: 0 }).search({ index: 'a' }),
      { table: 'a' },
    ],
    [
      'cannot be serialized',
      () => {
        const circular: Record<string, unknown> = {};
        circular['self'] = circular;
        return client.index({ index: items, document: circular });
      },
      { writes: 1 },
    ],
  ])('that %s is one query and one error', async (_name, send, expected) => {
    const cost = await costOf(() => expect(send()).rejects.toThrow());
    expect(cost).toMatchObject({ count: 1, errors: 1, rows: 0, http: 0, ...expected });
  });

  it('is counted once with its retries', async () => {
    const options = { retryBackoff: () => 0 };
    const before = server.asked();
    const cost = await costOf(() => client.search({ index: `shaky-${tag}` }, options));
    expect(server.asked() - before).toBe(2);
    expect(cost).toMatchObject({ count: 1, errors: 0, http: 0 });
    const broken = await costOf(() => expect(client.search({ index: 'cut-a' }, options)).rejects.toThrow());
    expect(server.asked() - before).toBe(2 + 3);
    expect(broken).toMatchObject({ count: 1, errors: 1 });
  });

  it('of a helper is counted each time that it sends', async () => {
    const index = `bulk-${tag}`;
    const { queries } = await recordOf(() =>
      client.helpers.bulk({
        datasource: Array.from({ length: 10 }, (_, n) => ({ n, text: 'x'.repeat(100) })),
        flushBytes: 300,
        onDocument: () => ({ index: { _index: index } }),
      }),
    );
    expect(queries).toMatchObject({ rows: 10, errors: 0 });
    expect(queries.count).toBeGreaterThan(2);
    expect(queries.writes).toBe(queries.count);
    const found: unknown[] = [];
    const read = await costOf(async () => {
      for await (const hit of client.helpers.scrollDocuments({ index })) found.push(hit);
    });
    expect(found).toHaveLength(10);
    // The search, five times two documents, one page without any, and the end of the scroll.
    expect(read).toMatchObject({ rows: 10, writes: 0, errors: 0, http: 0 });
    const { queries: scrolled } = await recordOf(() => client.helpers.search({ index }));
    expect(scrolled).toMatchObject({ count: 1, rows: 10 });
  });

  it('of the helper for several searches is counted as one msearch', async () => {
    const cost = await costOf(async () => {
      const searcher = client.helpers.msearch({ operations: 2, flushInterval: 10 });
      const answers = await Promise.all([
        searcher.search({ index: orders }, {}),
        searcher.search({ index: items }, { size: 1 }),
      ]);
      expect(answers.map(({ documents }) => documents.length)).toEqual([7, 1]);
      searcher.stop();
    });
    expect(cost).toMatchObject({ count: 1, rows: 8, shape: 'msearch', http: 0 });
  });

  it('that asks the same again is a duplicate, also deep within, until something is written', async () => {
    const search = (id: number) =>
      client.search({ index: orders, query: { bool: { filter: [{ terms: { customer: [id] } }] } } });
    const duplicatesOf = (work: () => unknown) =>
      recordOf(work).then(({ findings = [] }) =>
        findings
          .filter(({ kind }) => kind === 'duplicate')
          .map(({ shape, duplicates }) => [shape, duplicates]),
      );
    expect(await duplicatesOf(() => Promise.all([1, 2, 3, 4].map(search)))).toEqual([]);
    expect(await duplicatesOf(() => Promise.all([1, 1, 1, 2].map(search)))).toEqual([
      [`search ${orders}`, 2],
    ]);
    const written = await duplicatesOf(async () => {
      for (let n = 0; n < 4; n++) {
        await search(1);
        await client.update({ index: orders, id: '1', doc: {} });
      }
    });
    expect(written).toEqual([]);
  });

  it('is recorded without anything of its body, its query or its ids', async () => {
    const record = await recordOf(async () => {
      await client.search({
        index: orders,
        query: { match: { name: 'secret-1' } },
        q: 'secret-2',
        routing: 'secret-3',
      });
      await client.index({ index: items, id: 'secret-4', document: { password: 'secret-5' } });
      await client.get({ index: items, id: 'secret-6' }).catch(() => undefined);
      await client.transport
        .request({ method: 'GET', path: `/${items}/_doc/secret-7/x?a=secret-8` })
        .catch(() => undefined);
      await client.bulk({ operations: [{ index: { _index: items, _id: 'secret-9' } }, {}] });
      await client.delete({ index: items, id: 'secret-4' });
    });
    expect(record.queries.count).toBe(6);
    expect(JSON.stringify(record)).not.toContain('secret-');
  });

  it('has its duration, and others at once', async () => {
    const { queries } = await recordOf(() =>
      Promise.all(Array.from({ length: 5 }, () => client.search({ index: 'slow-b' }))),
    );
    expect(queries).toMatchObject({ count: 5, maxConcurrent: 5 });
    expect(queries.durationMs).toBeGreaterThan(5 * 50);
  });
});
