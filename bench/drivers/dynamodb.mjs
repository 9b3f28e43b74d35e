import { DynamoDBClient, QueryCommand } from '@aws-sdk/client-dynamodb';
import { Readable } from 'node:stream';

export const instrumentation = 'dynamodbInstrumentation';

const item = id => ({ id: { S: id }, name: { S: `order ${id}` }, total: { N: '10' } });
const body = Buffer.from(JSON.stringify({ Count: 3, ScannedCount: 3, Items: ['1', '2', '3'].map(item) }));
const headers = { 'content-type': 'application/x-amz-json-1.0', 'content-length': String(body.length) };

/** The real client with its middleware, its signature and its codec, without a connection. */
const requestHandler = {
  handle: async () => ({
    response: { statusCode: 200, reason: 'OK', headers, body: Readable.from([body]) },
  }),
};

export async function connect() {
  const client = new DynamoDBClient({
    region: 'eu-west-1',
    endpoint: 'http://stub.example',
    credentials: { accessKeyId: 'bench', secretAccessKey: 'bench' },
    requestHandler,
  });
  let customer = 0;
  const input = () => ({
    TableName: 'orders',
    KeyConditionExpression: 'customer = :customer',
    ExpressionAttributeValues: { ':customer': { N: String((customer += 1)) } },
  });
  return { query: () => client.send(new QueryCommand(input())), close: () => client.destroy() };
}
