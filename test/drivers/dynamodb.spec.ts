import {
  BatchExecuteStatementCommand,
  BatchGetItemCommand,
  BatchWriteItemCommand,
  DeleteItemCommand,
  DescribeTableCommand,
  DynamoDB,
  DynamoDBClient,
  ExecuteStatementCommand,
  GetItemCommand,
  paginateQuery,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  TransactGetItemsCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { dynamodbInstrumentation } from '../../lib/drivers/dynamodb/dynamodb.driver';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { type DynamodbServer, LEFT_OVER, startDynamodb } from '../support/dynamodb-server';
import { startApp, type TestApp, until } from '../support/platforms';

const orders = `orders-${process.pid}`;
const stock = `stock-${process.pid}`;
const key = (id: string) => ({ id: { S: id } });

let test: TestApp;
let server: DynamodbServer;
let client: DynamoDBClient;
let unit = 0;

function open(endpoint: string, maxAttempts = 1): DynamoDB {
  return new DynamoDB({
    endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts,
  });
}

beforeAll(async () => {
  server = await startDynamodb();
  test = await startApp({ instrumentations: [dynamodbInstrumentation(), httpInstrumentation()] });
  client = open(server.url);
  for (let n = 1; n <= 7; n++)
    await client.send(new PutItemCommand({ TableName: orders, Item: key(String(n)) }));
  for (let n = 1; n <= 3; n++)
    await client.send(new PutItemCommand({ TableName: stock, Item: key(String(n)) }));
});
afterAll(async () => {
  client.destroy();
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
  const { count, rows, writes, transactions, errors, shapes } = queries;
  return {
    count,
    rows,
    writes,
    transactions,
    errors,
    table: shapes[0]?.table,
    shape: shapes[0]?.shape,
    http: http?.count ?? 0,
  };
}

type Expected = Partial<Awaited<ReturnType<typeof costOf>>>;

describe('a command of @aws-sdk/client-dynamodb', () => {
  it.each<[string, () => Promise<unknown>, Expected]>([
    [
      'GetItem',
      () => client.send(new GetItemCommand({ TableName: orders, Key: key('1') })),
      { rows: 1, table: orders, shape: `GetItem ${orders}` },
    ],
    [
      'GetItem of nothing',
      () => client.send(new GetItemCommand({ TableName: orders, Key: key('none') })),
      { rows: 0, table: orders },
    ],
    [
      'Query',
      () =>
        client.send(
          new QueryCommand({
            TableName: orders,
            KeyConditionExpression: 'id = :id',
            ExpressionAttributeValues: { ':id': { S: 'secret' } },
          }),
        ),
      { rows: 7, table: orders, shape: `Query ${orders}` },
    ],
    [
      'Query of an index',
      () => client.send(new QueryCommand({ TableName: orders, IndexName: 'by_customer', Limit: 2 })),
      { rows: 2, table: orders, shape: `Query ${orders} by_customer` },
    ],
    [
      'Query that counts',
      () => client.send(new QueryCommand({ TableName: orders, Select: 'COUNT' })),
      { rows: 7, table: orders },
    ],
    ['Scan', () => client.send(new ScanCommand({ TableName: stock })), { rows: 3, shape: `Scan ${stock}` }],
    [
      'a table by its ARN',
      () =>
        client.send(new ScanCommand({ TableName: `arn:aws:dynamodb:eu-west-1:123456789012:table/${stock}` })),
      { rows: 3, table: stock, shape: `Scan ${stock}` },
    ],
    [
      'PutItem',
      () => client.send(new PutItemCommand({ TableName: stock, Item: key('9') })),
      { rows: 1, writes: 1, table: stock, shape: `PutItem ${stock}` },
    ],
    [
      'UpdateItem',
      () => client.send(new UpdateItemCommand({ TableName: stock, Key: key('9') })),
      { rows: 1, writes: 1, shape: `UpdateItem ${stock}` },
    ],
    [
      'DeleteItem',
      () => client.send(new DeleteItemCommand({ TableName: stock, Key: key('9') })),
      { rows: 1, writes: 1, shape: `DeleteItem ${stock}` },
    ],
    [
      'BatchGetItem of two tables',
      () =>
        client.send(
          new BatchGetItemCommand({
            RequestItems: {
              [orders]: { Keys: [key('1'), key('2'), key('none')] },
              [stock]: { Keys: [key('1')] },
            },
          }),
        ),
      { rows: 3, table: orders, shape: `BatchGetItem ${orders}, ${stock}` },
    ],
    [
      'BatchWriteItem that leaves one over',
      () =>
        client.send(
          new BatchWriteItemCommand({
            RequestItems: {
              [`other-${stock}`]: ['1', '2', LEFT_OVER].map(id => ({ PutRequest: { Item: key(id) } })),
            },
          }),
        ),
      { rows: 2, writes: 1, table: `other-${stock}`, shape: `BatchWriteItem other-${stock}` },
    ],
    [
      'TransactWriteItems',
      () =>
        client.send(
          new TransactWriteItemsCommand({
            TransactItems: [
              { Put: { TableName: orders, Item: key('1') } },
              { Delete: { TableName: stock, Key: key('none') } },
              {
                ConditionCheck: {
                  TableName: orders,
                  Key: key('2'),
                  ConditionExpression: 'attribute_exists(id)',
                },
              },
            ],
          }),
        ),
      { rows: 3, writes: 1, table: orders, shape: `TransactWriteItems ${orders}, ${stock}` },
    ],
    [
      'TransactGetItems',
      () =>
        client.send(
          new TransactGetItemsCommand({
            TransactItems: ['1', 'none'].map(id => ({ Get: { TableName: orders, Key: key(id) } })),
          }),
        ),
      { rows: 1, table: orders, shape: `TransactGetItems ${orders}` },
    ],
    [
      'ExecuteStatement',
      () =>
        client.send(
          new ExecuteStatementCommand({ Statement: `SELECT * FROM "${orders}" WHERE id = 'secret'` }),
        ),
      { rows: 2, table: orders, shape: `SELECT * FROM "${orders}" WHERE id = ?` },
    ],
    [
      'ExecuteStatement that writes',
      () =>
        client.send(new ExecuteStatementCommand({ Statement: `DELETE FROM "${orders}" WHERE id = 'none'` })),
      { writes: 1, table: orders },
    ],
    [
      'BatchExecuteStatement',
      () =>
        client.send(
          new BatchExecuteStatementCommand({
            Statements: [{ Statement: ' select * from a' }, { Statement: 'SELECT 1' }],
          }),
        ),
      { rows: 1, table: undefined, shape: 'BatchExecuteStatement' },
    ],
    [
      'BatchExecuteStatement that writes',
      () =>
        client.send(
          new BatchExecuteStatementCommand({
            Statements: [{ Statement: "DELETE FROM a WHERE id='secret'" }],
          }),
        ),
      { writes: 1, shape: 'BatchExecuteStatement' },
    ],
    [
      'DescribeTable',
      () => client.send(new DescribeTableCommand({ TableName: orders })),
      { rows: 0, shape: `DescribeTable ${orders}` },
    ],
  ])('%s is counted with its items, and not as outbound HTTP', async (_name, send, expected) => {
    const cost = await costOf(send);
    expect(cost).toMatchObject({ count: 1, writes: 0, errors: 0, transactions: 0, http: 0, ...expected });
  });

  it.each<[string, () => Promise<unknown>]>([
    ['asks for a table that is not there', () => client.send(new ScanCommand({ TableName: 'none-a' }))],
    ['the server cannot answer', () => client.send(new ScanCommand({ TableName: 'broken-a' }))],
    ['breaks off', () => client.send(new ScanCommand({ TableName: 'cut-a' }))],
    [
      'is aborted',
      () => client.send(new ScanCommand({ TableName: 'slow-a' }), { abortSignal: AbortSignal.timeout(20) }),
    ],
    ['cannot be connected', () => open('http://127.0.0.1:1').send(new ScanCommand({ TableName: 'a' }))],
    ['lacks what it needs', () => client.send(new GetItemCommand({ TableName: 'none-a' } as never))],
  ])('that %s is one query and one error', async (_name, send) => {
    const cost = await costOf(() => expect(send()).rejects.toThrow());
    expect(cost).toMatchObject({ count: 1, errors: 1, rows: 0, http: 0 });
  });

  it('is counted once with its retries', async () => {
    const retrying = open(server.url, 3);
    const before = server.asked();
    const cost = await costOf(() => retrying.send(new ScanCommand({ TableName: 'shaky-a' })));
    expect(server.asked() - before).toBe(2);
    expect(cost).toMatchObject({ count: 1, errors: 0, http: 0 });
    const broken = await costOf(() =>
      expect(retrying.send(new ScanCommand({ TableName: 'broken-a' }))).rejects.toThrow(),
    );
    expect(server.asked() - before).toBe(2 + 3);
    expect(broken).toMatchObject({ count: 1, errors: 1, http: 0 });
    retrying.destroy();
  });

  it('is counted for each page of a paginator', async () => {
    const sizes: (number | undefined)[] = [];
    const cost = await costOf(async () => {
      const pages = paginateQuery({ client, pageSize: 3 }, { TableName: orders });
      for await (const page of pages) sizes.push(page.Items?.length);
    });
    expect(sizes).toEqual([3, 3, 1]);
    expect(cost).toMatchObject({ count: 3, rows: 7, shape: `Query ${orders}` });
  });

  it('is counted when a method of DynamoDB sends it, and with a callback', async () => {
    const dynamodb = open(server.url);
    const cost = await costOf(async () => {
      await dynamodb.scan({ TableName: stock });
      await new Promise(resolve => dynamodb.scan({ TableName: stock }, (_error, output) => resolve(output)));
      await new Promise(resolve =>
        dynamodb.scan({ TableName: stock }, {}, (_error, output) => resolve(output)),
      );
    });
    dynamodb.destroy();
    expect(cost).toMatchObject({ count: 3, rows: 9, http: 0 });
  });

  it('counts what its callback does, as what comes after it', async () => {
    const record = await recordOf(
      () =>
        new Promise<void>(resolve => {
          client.send(new ScanCommand({ TableName: stock }), () => {
            void fetch(server.url, { method: 'POST', body: '{}' })
              .then(response => response.text())
              .then(() => client.send(new ScanCommand({ TableName: stock })))
              .then(() => resolve());
          });
        }),
    );
    expect(record.queries).toMatchObject({ count: 2, rows: 6 });
    expect(record.http).toMatchObject({ count: 1, errors: 0 });
  });

  it('that asks the same again is a duplicate, until something is written', async () => {
    const get = (id: string) => client.send(new GetItemCommand({ TableName: orders, Key: key(id) }));
    const duplicatesOf = (work: () => unknown) =>
      recordOf(work).then(({ findings = [] }) =>
        findings
          .filter(({ kind }) => kind === 'duplicate')
          .map(({ shape, duplicates }) => [shape, duplicates]),
      );
    expect(await duplicatesOf(() => Promise.all(['1', '2', '3', '4'].map(get)))).toEqual([]);
    expect(await duplicatesOf(() => Promise.all(['1', '1', '1', '2'].map(get)))).toEqual([
      [`GetItem ${orders}`, 2],
    ]);
    const written = await duplicatesOf(async () => {
      for (let n = 0; n < 4; n++) {
        await get('1');
        await client.send(new PutItemCommand({ TableName: stock, Item: key('1') }));
      }
    });
    expect(written).toEqual([]);
  });

  it('is recorded without a key, a value or a literal', async () => {
    const record = await recordOf(async () => {
      await client.send(
        new PutItemCommand({ TableName: stock, Item: { ...key('secret-1'), a: { S: 'secret-2' } } }),
      );
      await client.send(new GetItemCommand({ TableName: stock, Key: key('secret-1') }));
      await client.send(
        new QueryCommand({
          TableName: stock,
          KeyConditionExpression: "id = 'secret-3'",
          ExpressionAttributeValues: { ':a': { S: 'secret-4' } },
        }),
      );
      await client.send(
        new ExecuteStatementCommand({
          Statement: "SELECT * FROM a WHERE id = 'secret-5'",
          Parameters: [{ S: 'secret-6' }],
        }),
      );
      await client.send(new BatchGetItemCommand({ RequestItems: { [stock]: { Keys: [key('secret-7')] } } }));
      await client.send(new DeleteItemCommand({ TableName: stock, Key: key('secret-1') }));
    });
    expect(record.queries.count).toBe(6);
    expect(JSON.stringify(record)).not.toContain('secret-');
  });

  it('has its duration, and others at once', async () => {
    const { queries } = await recordOf(() =>
      Promise.all(Array.from({ length: 5 }, () => client.send(new ScanCommand({ TableName: 'slow-b' })))),
    );
    expect(queries).toMatchObject({ count: 5, maxConcurrent: 5 });
    expect(queries.durationMs).toBeGreaterThan(5 * 50);
  });
});
