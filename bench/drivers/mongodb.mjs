import { MongoClient } from 'mongodb';
import net from 'node:net';
import { StubSocket } from '../stub-mongo.mjs';

export const instrumentation = 'mongodbInstrumentation';

const STUB = 'stub.example';

export async function connect() {
  // The client takes no socket of one's own: it asks `node:net` for each of its connections.
  const { createConnection } = net;
  net.createConnection = (options, ...rest) =>
    options?.host === STUB ? new StubSocket() : createConnection(options, ...rest);
  const client = await MongoClient.connect(`mongodb://${STUB}/?directConnection=true`);
  const orders = client.db('bench').collection('orders');
  let customer = 0;
  return {
    query: () => orders.find({ customer: (customer += 1), status: 'open' }).toArray(),
    close: () => client.close(),
  };
}
