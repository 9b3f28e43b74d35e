import { connect as connectRabbit } from 'amqplib';
import { connect as connectRabbitWithCallbacks } from 'amqplib/callback_api';
import { Client as GrpcClient, credentials } from '@grpc/grpc-js';
import { randomBytes } from 'node:crypto';
import { fork } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs';
import { Agent, get } from 'node:http';
import { createRequire } from 'node:module';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { gzip } from 'node:zlib';
import { Redis } from 'ioredis';
import type * as MariadbCallbacks from 'mariadb/callback';
import { MongoClient } from 'mongodb';
import { connect as connectMqtt } from 'mqtt';
import mssql from 'mssql';
import mysql from 'mysql2';
import { connect as connectNats } from 'nats';
import { Client, Pool, Query } from 'pg';
import Cursor from 'pg-cursor';
import { createClient } from 'redis';
import { Connection as TdsConnection, Request as TdsRequest } from 'tedious';
import { Client as UndiciClient } from 'undici';

/** Where the servers of the test are. */
export interface Servers {
  readonly postgres: string;
  readonly mariadb: string;
  readonly redis: string;
  readonly rabbit: string;
  readonly nats: string;
  readonly mqtt: string;
  readonly mongo: string;
  readonly http: string;
  readonly grpc: string;
  readonly tds: number;
}

type Callback = (...args: never[]) => unknown;
/** Calls something that calls back, over the connection that is there already. */
export type Use = (callback: Callback) => unknown;
/** Opens the connection, which the first call needs, and gives what uses it. */
type Open = (servers: Servers) => Promise<Use>;

const { createPool: createMariadbPool } = createRequire(__filename)(
  'mariadb/callback',
) as typeof MariadbCallbacks;

const ready = (): Promise<void> => Promise.resolve();

function mysqlOf({ mariadb }: Servers): mysql.Connection {
  return mysql.createConnection(mariadb);
}

async function mysqlPool({ mariadb }: Servers): Promise<mysql.Pool> {
  const pool = mysql.createPool({ uri: mariadb, connectionLimit: 1 });
  await pool.promise().query('SELECT 1');
  return pool;
}

async function mariadbPool({ mariadb }: Servers): Promise<MariadbCallbacks.Pool> {
  const { hostname, port, username, password, pathname } = new URL(mariadb);
  const pool = createMariadbPool({
    host: hostname,
    port: Number(port || 3306),
    user: username,
    password,
    database: pathname.slice(1),
    connectionLimit: 1,
    minimumIdle: 1,
  });
  await new Promise(resolve => pool.query('SELECT 1', resolve));
  return pool;
}

async function pgPool({ postgres }: Servers): Promise<Pool> {
  const pool = new Pool({ connectionString: postgres, max: 1 });
  await pool.query('SELECT 1');
  return pool;
}

async function pgClient({ postgres }: Servers): Promise<Client> {
  const client = new Client(postgres);
  await client.connect();
  return client;
}

async function tdsConnection({ tds }: Servers): Promise<TdsConnection> {
  const connection = new TdsConnection({
    server: '127.0.0.1',
    options: { port: tds, encrypt: false, trustServerCertificate: true },
    authentication: { type: 'default', options: { userName: 'test', password: 'test' } },
  });
  connection.connect();
  await once(connection, 'connect');
  return connection;
}

function mssqlPool({ tds }: Servers): Promise<mssql.ConnectionPool> {
  const options = { encrypt: false, trustServerCertificate: true };
  return new mssql.ConnectionPool({
    server: '127.0.0.1',
    port: tds,
    user: 'test',
    password: 'test',
    options,
    pool: { min: 1, max: 1 },
  }).connect();
}

/** A client as one writes it oneself: nobody brings its callbacks back. */
class OwnClient {
  readonly #socket: Socket;
  readonly #waiting: Callback[] = [];

  constructor(redis: string) {
    const { hostname, port } = new URL(redis);
    this.#socket = connect(Number(port || 6379), hostname);
    this.#socket.on('data', data => {
      for (const _line of data.toString().match(/\r\n/g) ?? []) (this.#waiting.shift() as () => void)?.();
    });
  }

  ping(callback: Callback): void {
    this.#waiting.push(callback);
    this.#socket.write('PING\r\n');
  }
}

async function ownClient({ redis }: Servers): Promise<OwnClient> {
  const client = new OwnClient(redis);
  await new Promise<void>(resolve => client.ping(resolve));
  return client;
}

/** An agent with one connection, which is open. */
async function httpAgent({ http }: Servers): Promise<Agent> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await new Promise<void>(resolve => get(http, { agent }, response => response.resume().on('end', resolve)));
  return agent;
}

let queues = 0;
const queueName = (): string => `nac-lost-${process.pid}-${(queues += 1)}`;

export const calls: Readonly<Record<string, Open>> = {
  'pg pool.query()': async servers => {
    const pool = await pgPool(servers);
    return callback => void pool.query('SELECT 1', callback as () => void);
  },
  'pg pool.query() that waits for its turn': async servers => {
    const pool = await pgPool(servers);
    const holder = await pool.connect();
    return callback => {
      void pool.query('SELECT 1', callback as () => void);
      holder.release();
    };
  },
  'pg client.query()': async servers => {
    const client = await pgClient(servers);
    return callback => void client.query('SELECT 1', callback as () => void);
  },
  'pg client.query() with a query object': async servers => {
    const client = await pgClient(servers);
    return callback => client.query(new Query('SELECT 1')).on('row', callback as () => void);
  },
  'pg pool.connect()': async servers => {
    const pool = await pgPool(servers);
    return callback => pool.connect(callback as () => void);
  },
  'pg pool.connect(), client.query()': async servers => {
    const pool = await pgPool(servers);
    return callback => pool.connect((_error, client) => client!.query('SELECT 1', callback as () => void));
  },
  'pg-cursor read()': async servers => {
    const client = await pgClient(servers);
    return callback => client.query(new Cursor('SELECT 1')).read(1, callback as () => void);
  },
  'mysql2 pool.query()': async servers => {
    const pool = await mysqlPool(servers);
    return callback => pool.query('SELECT 1', callback as () => void);
  },
  'mysql2 pool.execute()': async servers => {
    const pool = await mysqlPool(servers);
    return callback => pool.execute('SELECT 1', callback as () => void);
  },
  'mysql2 pool.getConnection()': async servers => {
    const pool = await mysqlPool(servers);
    return callback => pool.getConnection(callback as () => void);
  },
  'mysql2 connection.query()': async servers => {
    const connection = mysqlOf(servers);
    await connection.promise().query('SELECT 1');
    return callback => connection.query('SELECT 1', callback as () => void);
  },
  'mysql2 connection.execute()': async servers => {
    const connection = mysqlOf(servers);
    await connection.promise().query('SELECT 1');
    return callback => connection.execute('SELECT 1', callback as () => void);
  },
  'mysql2 connection.ping()': async servers => {
    const connection = mysqlOf(servers);
    await connection.promise().query('SELECT 1');
    return callback => connection.ping(callback as () => void);
  },
  'mysql2 events of a query': async servers => {
    const connection = mysqlOf(servers);
    await connection.promise().query('SELECT 1');
    return callback => connection.query('SELECT 1').on('result', callback as () => void);
  },
  'mariadb pool.query()': async servers => {
    const pool = await mariadbPool(servers);
    return callback => pool.query('SELECT 1', callback as () => void);
  },
  'mariadb pool.getConnection()': async servers => {
    const pool = await mariadbPool(servers);
    return callback => pool.getConnection(callback as () => void);
  },
  'mariadb connection.query()': async servers => {
    const pool = await mariadbPool(servers);
    const connection = await new Promise<MariadbCallbacks.Connection>(resolve =>
      pool.getConnection((_error, one) => resolve(one!)),
    );
    return callback => connection.query('SELECT 1', callback as () => void);
  },
  'mssql request.query()': async servers => {
    const pool = await mssqlPool(servers);
    await pool.request().query('SELECT 1');
    return callback => pool.request().query('SELECT 1', callback as () => void);
  },
  'tedious request': async servers => {
    const connection = await tdsConnection(servers);
    return callback => connection.execSql(new TdsRequest('SELECT 1', callback as () => void));
  },
  'ioredis get()': async ({ redis }) => {
    const client = new Redis(redis);
    await client.ping();
    return callback => client.get('nac', callback as () => void);
  },
  'ioredis pipeline().exec()': async ({ redis }) => {
    const client = new Redis(redis);
    await client.ping();
    return callback =>
      client
        .pipeline()
        .get('nac')
        .exec(callback as () => void);
  },
  'redis subscribe()': async ({ redis }) => {
    const [client, other] = [createClient({ url: redis }), createClient({ url: redis })];
    await Promise.all([client.connect(), other.connect()]);
    const channel = queueName();
    return async callback => {
      await client.subscribe(channel, callback as () => void);
      await other.publish(channel, 'x');
    };
  },
  'mongodb stream of find()': async ({ mongo }) => {
    const client = await new MongoClient(mongo).connect();
    const collection = client.db('test').collection('lost');
    await collection.insertOne({ a: 1 });
    return callback =>
      collection
        .find()
        .stream()
        .on('data', callback as () => void);
  },
  'amqplib confirm': async ({ rabbit }) => {
    const channel = await (await connectRabbit(rabbit)).createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    return callback => channel.sendToQueue(queue, Buffer.from('x'), {}, callback as () => void);
  },
  'amqplib confirm, with callbacks': async ({ rabbit }) => {
    const [channel, queue] = await new Promise<[import('amqplib/callback_api').ConfirmChannel, string]>(
      resolve =>
        connectRabbitWithCallbacks(rabbit, (_error, connection) =>
          connection.createConfirmChannel((_failed, made) =>
            made.assertQueue('', { exclusive: true }, (_none, { queue: name }) => resolve([made, name])),
          ),
        ),
    );
    return callback => channel.sendToQueue(queue, Buffer.from('x'), {}, callback as () => void);
  },
  'amqplib consume()': async ({ rabbit }) => {
    const channel = await (await connectRabbit(rabbit)).createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    return async callback => {
      await channel.consume(queue, callback as () => void, { noAck: true });
      channel.sendToQueue(queue, Buffer.from('x'));
    };
  },
  'nats subscription': async ({ nats }) => {
    const connection = await connectNats({ servers: nats });
    const subject = queueName();
    return callback => {
      connection.subscribe(subject, { max: 1, callback: callback as () => void });
      connection.publish(subject);
    };
  },
  'mqtt publish()': async ({ mqtt }) => {
    const client = connectMqtt(mqtt);
    await new Promise<void>(resolve => void client.once('connect', () => resolve()));
    return callback => client.publish(queueName(), 'x', { qos: 1 }, callback as () => void);
  },
  'a client of one’s own': async servers => {
    const client = await ownClient(servers);
    return callback => client.ping(callback);
  },
  'a client of one’s own, on the next tick': async servers => {
    const client = await ownClient(servers);
    return callback => client.ping(() => process.nextTick(callback));
  },
  'a client of one’s own, as a promise': async servers => {
    const client = await ownClient(servers);
    return run => void new Promise<void>(resolve => client.ping(resolve)).then(run as () => void);
  },
  'http response': async servers => {
    const agent = await httpAgent(servers);
    return callback => get(servers.http, { agent }, callback as () => void);
  },
  'http data': async servers => {
    const agent = await httpAgent(servers);
    return callback => get(servers.http, { agent }, response => response.on('data', callback as () => void));
  },
  'undici request()': async ({ http }) => {
    const client = new UndiciClient(new URL(http).origin);
    await (await client.request({ path: '/', method: 'GET' })).body.dump();
    return callback => client.request({ path: '/', method: 'GET' }, callback as () => void);
  },
  'fetch().then()': async ({ http }) => {
    await (await fetch(http)).text();
    return run => void fetch(http).then(run as () => void);
  },
  'grpc unary call': async ({ grpc }) => {
    const client = new GrpcClient(grpc, credentials.createInsecure());
    const same = (value: Buffer): Buffer => value;
    const call = (callback: Callback): unknown =>
      client.makeUnaryRequest('/test.Echo/Say', same, same, Buffer.from('x'), callback as () => void);
    await new Promise<void>(resolve => void call(resolve));
    return call;
  },
  'dns lookup()': async () => callback => lookup('localhost', callback as () => void),
  'fs readFile()': async () => callback => readFile(__filename, callback as () => void),
  'fs stat()': async () => callback => stat(__filename, callback as () => void),
  'crypto randomBytes()': async () => callback => randomBytes(8, callback as () => void),
  'zlib gzip()': async () => callback => gzip('x', callback as () => void),
  'message of a child process': async () => {
    const child = fork(join(__dirname, 'echo.js'));
    await once(child, 'message');
    return callback => child.once('message', callback as () => void).send('x');
  },
  'message over UDP': async () => {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return callback =>
      socket.once('message', callback as () => void).send('x', socket.address().port, '127.0.0.1');
  },
  'message of a worker': async () => {
    const program =
      "const { parentPort } = require('worker_threads'); parentPort.on('message', m => parentPort.postMessage(m))";
    const worker = new Worker(program, { eval: true });
    await once(worker, 'online');
    return callback => worker.once('message', callback as () => void).postMessage('x');
  },
  'no connection at all': async () => {
    await ready();
    return callback => setTimeout(callback as () => void, 1);
  },
};
