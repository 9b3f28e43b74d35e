import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisCostLimitStore } from 'nestjs-async-context';
import { PostgresCostLimitStore } from 'nestjs-async-context/postgres';
import { Pool } from 'pg';
import { createClient } from 'redis';
import { connectServer, SERVER_URL } from './postgres.mjs';

const ignore = () => undefined;

/** Clients of Redis, connected, and how they are closed. */
const CLIENTS = {
  async ioredis(port) {
    // As docs/cost-limit.md has it.
    const client = new Redis({ port, host: '127.0.0.1', enableOfflineQueue: false }).on('error', ignore);
    await once(client, 'ready');
    return [client, () => client.disconnect()];
  },
  async 'ioredis-queue'(port) {
    const client = new Redis({ port, host: '127.0.0.1' }).on('error', ignore);
    await once(client, 'ready');
    return [client, () => client.disconnect()];
  },
  async redis(port) {
    const client = createClient({ url: `redis://127.0.0.1:${port}` }).on('error', ignore);
    await client.connect();
    return [client, () => client.destroy()];
  },
};

/** The store of one process. */
export async function openStore({ kind, client: name, port, table }) {
  if (kind === 'postgres') {
    const pool = new Pool({ connectionString: SERVER_URL, max: 4 }).on('error', ignore);
    return { store: new PostgresCostLimitStore({ pool, table }), close: () => pool.end() };
  }
  const [client, close] = await CLIENTS[name](port);
  return { store: new RedisCostLimitStore({ client }), close };
}

export async function dropTable(table) {
  const pool = connectServer();
  await pool.query(`DROP TABLE IF EXISTS ${table}`);
  await pool.end();
}

/** A Redis of its own, which keeps nothing. */
export class OwnRedis {
  #process;

  static async start() {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address();
    await new Promise(resolve => probe.close(resolve));
    const server = new OwnRedis(port);
    await server.start();
    return server;
  }

  constructor(port) {
    this.port = port;
  }

  async start() {
    const args = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    const server = spawn('redis-server', args, { stdio: 'ignore' });
    await once(server, 'spawn');
    this.#process = server;
    const client = new Redis({ port: this.port, host: '127.0.0.1', lazyConnect: true, retryStrategy: null });
    client.on('error', ignore);
    for (let tries = 0; !(await isReady(client)); tries++) {
      if (tries > 200) throw new Error(`no redis-server answers at port ${this.port}`);
      await setTimeout(25);
    }
    client.disconnect();
  }

  async kill() {
    if (this.#process.signalCode !== null) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
  }
}

async function isReady(client) {
  try {
    if (client.status !== 'ready') await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  }
}
