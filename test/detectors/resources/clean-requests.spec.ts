import { Controller, Get, Res, StreamableFile } from '@nestjs/common';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createGzip } from 'node:zlib';
import { Pool } from 'pg';
import { fetch as undiciFetch, Agent as UndiciAgent } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ResourceMonitor } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../../support/database';
import { startHttpServer, type TestServer } from '../../support/http-server';
import { type MongoServer, startMongoServer } from '../../support/mongo-server';
import { platforms, startApp } from '../../support/platforms';
import { hasRedis, redisUrl } from '../../support/redis-server';

const REQUESTS = 1_000;
const FILE = import.meta.filename;

let pool: Pool;
let redis: Redis;
let mongo: MongoClient;
let mongoServer: MongoServer;
let server: TestServer;
let agent: Agent;
let dispatcher: UndiciAgent;

beforeAll(async () => {
  mongoServer = await startMongoServer();
  server = await startHttpServer();
});
afterAll(async () => {
  await server.close();
  await mongoServer.close();
});

/** Clients that connect with their first call, which a request makes. */
function makeClients(): void {
  pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 5, idleTimeoutMillis: 60_000 });
  redis = new Redis(redisUrl, { lazyConnect: true });
  mongo = new MongoClient(mongoServer.url, { maxPoolSize: 3 });
  agent = new Agent({ keepAlive: true });
  dispatcher = new UndiciAgent();
}

async function closeClients(): Promise<void> {
  await pool.end();
  redis.disconnect();
  await mongo.close();
  agent.destroy();
  await dispatcher.close();
}

let copies = 0;

@Controller()
class CleanController {
  @Get('pool')
  async pool(): Promise<string> {
    await Promise.all([pool.query('SELECT 1'), pool.query('SELECT 2')]);
    return 'done';
  }

  @Get('redis')
  async redis(): Promise<string> {
    if (hasRedis) await redis.get('clean');
    return 'done';
  }

  @Get('mongo')
  async mongo(): Promise<string> {
    await mongo.db().collection('orders').findOne({ status: 'open' });
    return 'done';
  }

  @Get('fetch')
  async fetch(): Promise<string> {
    const signal = AbortSignal.timeout(240_000);
    await (await fetch(`${server.url}/ok`, { signal })).text();
    await (await undiciFetch(`${server.url}/ok`, { dispatcher })).text();
    return 'done';
  }

  @Get('agent')
  async agent(): Promise<string> {
    const response = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
      get(`${server.url}/ok`, { agent, timeout: 240_000 }, resolve).on('error', reject);
    });
    await text(response);
    return 'done';
  }

  @Get('timers')
  async timers(): Promise<string> {
    await new Promise(resolve => setTimeout(resolve, 2));
    await sleep(1);
    const interval = setInterval(() => undefined, 1_000);
    const timeout = setTimeout(() => undefined, 60_000);
    try {
      await Promise.race([sleep(1), new Promise(resolve => setTimeout(resolve, 3))]);
      return 'done';
    } finally {
      clearInterval(interval);
      clearTimeout(timeout);
    }
  }

  @Get('files')
  async files(): Promise<string> {
    const copy = join(tmpdir(), `clean-requests-${process.pid}-${(copies += 1)}`);
    await readFile(FILE);
    await text(createReadStream(FILE));
    const handle = await open(copy, 'w');
    await pipeline(createReadStream(FILE), createGzip(), handle.createWriteStream());
    await rm(copy);
    return 'done';
  }

  @Get('stream')
  stream(): StreamableFile {
    return new StreamableFile(createReadStream(FILE));
  }

  @Get('ended')
  ended(@Res() response: { send(body: string): void }): void {
    response.send('done');
  }

  @Get('child')
  async child(): Promise<string> {
    await promisify(execFile)(process.execPath, ['-v']);
    return 'done';
  }
}

const ROUTES = ['pool', 'redis', 'mongo', 'fetch', 'agent', 'timers', 'files', 'stream', 'ended'];

describe.each(platforms)('clean requests on %s', platform => {
  it(`are ${REQUESTS}, and nothing is reported of them`, async () => {
    makeClients();
    const test = await startApp({
      platform,
      controllers: [CleanController],
      resourceMonitor: { sample: 1, leakMs: 100 },
    });
    const monitor = test.app.get(ResourceMonitor);
    const seen: unknown[] = [];
    const watch = setInterval(() => seen.push(...monitor.report()), 50);
    let sent = 0;
    const client = async (): Promise<void> => {
      while (sent < REQUESTS) {
        const path = sent % 100 === 0 ? 'child' : ROUTES[sent % ROUTES.length]!;
        sent += 1;
        const response = await fetch(`${test.url}/${path}`);
        expect(response.status).toBe(200);
        await response.text();
      }
    };
    await Promise.all(Array.from({ length: 16 }, client));
    await sleep(500);
    clearInterval(watch);
    expect(seen).toEqual([]);
    expect(monitor.report()).toEqual([]);
    expect(test.logs.of('warn', 'ResourceMonitor')).toEqual([]);
    expect(test.logs.of('warn', 'AsyncContext').filter(line => line.includes('resource monitor'))).toEqual(
      [],
    );
    expect(monitor.untracked).toBe(0);

    // It was not blind: what the clients keep is known, and whose it is.
    const keepers = new Set(
      monitor
        .kept()
        .filter(({ type }) => type === 'socket')
        .map(({ keptBy }) => keptBy),
    );
    for (const keeper of ['pg', 'node:http_agent', 'undici', 'mongodb']) {
      expect(keepers).toContain(keeper);
    }
    await closeClients();
    await test.close();
  });
});
