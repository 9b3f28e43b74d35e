import { Controller, Get, Query } from '@nestjs/common';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Pool } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { contextStorage } from '../../../lib/context/context-storage';
import { databaseUrl, isEmbedded } from '../../support/database';
import { platforms, startApp, type TestApp, until } from '../../support/platforms';

const needsServer = isEmbedded && !process.env['CI'];

let pool: Pool;
let test: TestApp | undefined;
/** How many handlers hold a connection and have come to their pause. */
let paused = 0;

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

@Controller()
class WaitController {
  @Get('sleep')
  async sleep(@Query('seconds') seconds = '0.4'): Promise<void> {
    await pool.query('SELECT pg_sleep($1)', [seconds]);
  }

  @Get('calls-a-service')
  async callsAService(): Promise<void> {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query('SAVEPOINT before');
      await client.query('ROLLBACK TO SAVEPOINT before');
      await client.query("SELECT 'secret', $1::int", [1]);
      paused += 1;
      await pause(600);
      await client.query('COMMIT');
    } finally {
      client.release();
    }
  }

  @Get('between')
  async between(): Promise<void> {
    const client = await pool.connect();
    await client.query('SELECT 1 FROM pg_class LIMIT 1');
    paused += 1;
    await pause(600);
    client.release();
  }

  @Get('fan-out')
  async fanOut(@Query('calls') calls: string): Promise<void> {
    await Promise.all(Array.from({ length: Number(calls) }, () => pool.query('SELECT pg_sleep(0.3)')));
  }

  @Get('nested')
  async nested(): Promise<void> {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      paused += 1;
      await until(() => paused === 2, 'both transactions');
      await Promise.race([pool.query('SELECT 1'), pause(600)]);
      await client.query('ROLLBACK');
    } finally {
      client.release();
    }
  }

  @Get('waits')
  async waits(): Promise<number> {
    const client = await pool.connect();
    client.release();
    return contextStorage.getStore()?.poolWaits?.length ?? 0;
  }

  @Get('waits-with-callback')
  waitsWithCallback(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      pool.connect((error, _client, release) => {
        release();
        if (error) reject(error);
        else resolve(contextStorage.getStore()?.poolWaits);
      });
    });
  }
}

const lines = (): string[] => test!.logs.of('warn', 'ConnectionPool');
const fieldsOfLine = (i = 0): Record<string, unknown> =>
  test!.logs.lines.filter(({ context }) => context === 'ConnectionPool')[i]!.fields!;
const get = async (path: string): Promise<string> => (await fetch(`${test!.url}/${path}`)).text();

describe.skipIf(needsServer).each(platforms)('a wait for a pool on %s', platform => {
  beforeEach(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    // Both connections are open: on a busy machine that takes longer than the test waits.
    await Promise.all([pool.query('SELECT pg_sleep(0.1)'), pool.query('SELECT pg_sleep(0.1)')]);
    paused = 0;
    test = await startApp({ platform, controllers: [WaitController], poolWaitMs: 200 });
  });
  afterEach(async () => {
    await test?.close();
    await pool.end();
  });

  it('names size, holders, how long they have held it, and their statement: 20 requests, 2 connections', async () => {
    await Promise.all(Array.from({ length: 20 }, () => get('sleep?seconds=0.3')));
    await test!.records(20);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toMatch(
      /^WaitController\.sleep waited [\d,]+ ms for a pg connection: 2 of 2 in use, 18 calls waiting {4}req \S+\n/,
    );
    expect(lines()[0]).toMatch(
      /holder WaitController\.sleep, 2 for [\d.]+(?: to [\d.]+)? ms: in SELECT pg_sleep\(\?\)\n/,
    );
    expect(fieldsOfLine()).toMatchObject({
      handler: 'WaitController.sleep',
      route: 'GET /sleep',
      driver: 'pg',
      size: 2,
      held: 2,
      waiting: 18,
      own: 0,
      'holder1.handler': 'WaitController.sleep',
      'holder1.connections': 2,
      'holder1.closed': 0,
      'holder1.state': 'running',
      'holder1.shape': 'SELECT pg_sleep(?)',
      suppressed: 0,
    });
    for (const value of Object.values(fieldsOfLine())) expect(typeof value).not.toBe('object');
    const records = await test!.records(20);
    const longest = Math.max(...records.map(({ queries }) => queries.waitMs));
    expect(longest).toBeGreaterThan(1_000);
  });

  it('finds the transaction that is idle while its handler calls a service', async () => {
    const holders = [get('calls-a-service'), get('sleep?seconds=0.6')];
    await until(() => paused === 1 && pool.idleCount === 0, 'full pool');
    await get('waits');
    await Promise.all(holders);
    await test!.records(3);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toMatch(
      /holder WaitController\.callsAService, 1 for \d+ ms: idle in a transaction, last: SELECT \?, \?::int\n/,
    );
    expect(lines()[0]).toContain(
      'fix    WaitController.callsAService does other work in an open transaction',
    );
    expect(lines()[0]).not.toContain('secret');
  });

  it.each([
    [6, false],
    [7, true],
  ])('tells %d calls of one request from those of many: %s', async (calls, isFanOut) => {
    await get(`fan-out?calls=${calls}`);
    await test!.records(1);
    const [line = ''] = lines();
    expect(line.includes(`${calls - 2} calls waiting, ${calls - 2} of them its own`)).toBe(isFanOut);
    expect(line.includes(`it requests ${calls - 2} connections at once: fetch all rows in one query`)).toBe(
      isFanOut,
    );
    expect(fieldsOfLine()).toMatchObject({ own: 0, ownWaiting: calls - 2 });
  });

  it('warns of requests that hold a connection while they wait for another', async () => {
    await Promise.all([get('nested'), get('nested')]);
    // Not that of a line: a spec is compiled in memory.
    const [line = ''] = test!.logs.of('error', 'ConnectionPool');
    expect(line).toMatch(
      /itself +holds 1 of them while it waits, and asks for another at pg-waits\.spec\.ts(?::\d+)? nested\n/,
    );
    expect(line).toContain('use the connection that the request already holds');
    expect(lines()).toEqual([]);
  });

  it('says of a pool that is not full that it opens connections', async () => {
    const server = new URL(databaseUrl());
    const { hostname: host, port } = server;
    let connections = 0;
    const sockets: Socket[] = [];
    // The first connection is one to the server; the others are never answered.
    const proxy = createServer(socket => {
      sockets.push(socket.on('error', () => undefined));
      connections += 1;
      if (connections > 1) return;
      const upstream = connect({ port: Number(port || 5432), host });
      sockets.push(upstream.on('error', () => undefined));
      socket.pipe(upstream).pipe(socket);
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    await pool.end();
    server.hostname = '127.0.0.1';
    server.port = String((proxy.address() as AddressInfo).port);
    pool = new Pool({ connectionString: server.href, max: 20, connectionTimeoutMillis: 1_000 });
    pool.on('error', () => undefined);
    await pool.query('SELECT 1');
    await Promise.all([get('between'), get('sleep?seconds=0')]);
    await test!.records(2);
    expect(lines()[0]).toMatch(
      /^WaitController\.sleep waited [\d,]+ ms for a pg connection: 1 of 20 in use, 1 call waiting {4}req/,
    );
    expect(lines()[0]).toContain('check the server and its connection limit');
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });

  it.each(['waits', 'waits-with-callback'])(
    'is charged to the request that %s, and kept on it',
    async path => {
      const holders = [get('between'), get('between')];
      await until(() => paused === 2, 'full pool');
      const answer = await get(path);
      await Promise.all(holders);
      if (path === 'waits') {
        expect(answer).toBe('1');
      } else {
        const [wait] = JSON.parse(answer) as [Record<string, unknown>];
        expect(wait).toMatchObject({ driver: 'pg', size: 2, held: 2, waiting: 1, own: 0 });
        expect(wait['waitedMs']).toBeGreaterThan(150);
        expect(wait['holders']).toEqual([
          {
            handler: 'WaitController.between',
            connections: 2,
            closed: 0,
            minHeldMs: expect.any(Number) as number,
            maxHeldMs: expect.any(Number) as number,
            statements: [{ state: 'idle', shape: 'SELECT ? FROM pg_class LIMIT ?', connections: 2 }],
          },
        ]);
      }
      const record = (await test!.records(3)).find(({ handler }) =>
        handler?.startsWith('WaitController.waits'),
      );
      expect(lines()[0]).toContain('between statements, last: SELECT ? FROM pg_class LIMIT ?');
      expect(record!.queries.waitMs).toBeGreaterThan(150);
      expect(record!.queries.count).toBe(0);
    },
  );
});
