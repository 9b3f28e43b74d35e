import axios from 'axios';
import http from 'node:http';
import http2 from 'node:http2';
import { createServer as createHttpsServer, request as httpsRequest, type RequestOptions } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import * as undici from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { LARGE, OK, startHttp2Server, startHttpServer, type TestServer } from '../support/http-server';
import { startApp, type TestApp, until } from '../support/platforms';

const nodeMajor = Number.parseInt(process.versions.node, 10);

let test: TestApp;
let server: TestServer;
let http2Server: TestServer;
let session: http2.ClientHttp2Session;
let pool: undici.Pool;
let unit = 0;

beforeAll(async () => {
  test = await startApp({ instrumentations: [httpInstrumentation()] });
  server = await startHttpServer();
  http2Server = await startHttp2Server();
  session = http2.connect(http2Server.url);
  pool = new undici.Pool(server.url, { connections: 2 });
});
afterAll(async () => {
  session.destroy();
  await pool.destroy();
  await test.close();
  await server.close();
  await http2Server.close();
});

/** The record of a unit of work. */
async function recordOf(work: () => unknown): Promise<CostRecord> {
  const requestId = `unit-${(unit += 1)}`;
  await test.app.get(ContextService).run({ requestId }, async () => {
    await work();
    // A request of Node is closed one tick after the end of its response.
    await new Promise(resolve => setTimeout(resolve, 5));
  });
  return until(() => test.sink.records.find(record => record.requestId === requestId), 'record');
}

async function costOf(work: () => unknown) {
  const { http: cost } = await recordOf(work);
  if (cost === undefined) return { count: 0 };
  const { count, errors, bytes, byTarget } = cost;
  return { count, errors, bytes, targets: Object.keys(byTarget) };
}

/** By `node:http`: the body, after it was read. */
function get(path: string, options: http.RequestOptions = {}, body?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request(`${server.url}${path}`, options, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** By `node:http2`. */
function get2(path: string, headers: http2.OutgoingHttpHeaders = {}): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path, ...headers });
    let status: number | undefined;
    stream.on('response', answer => (status = answer[':status']));
    stream.on('error', reject);
    stream.on('close', () => resolve(status));
    stream.resume();
  });
}

const quietly = (promise: Promise<unknown>): Promise<unknown> => promise.catch(() => undefined);

type Cost = Partial<{ count: number; errors: number; bytes: number }>;

describe.each<[client: string, ask: (path: string, method?: string) => Promise<unknown>]>([
  ['fetch', async (path, method = 'GET') => (await fetch(`${server.url}${path}`, { method })).text()],
  [
    'undici.fetch',
    async (path, method = 'GET') => (await undici.fetch(server.url + path, { method })).text(),
  ],
  [
    'undici.request',
    async (path, method = 'GET') =>
      (await undici.request(server.url + path, { method: method as 'GET' })).body.text(),
  ],
  ['pool.request', async (path, method = 'GET') => (await pool.request({ path, method })).body.text()],
  ['node:http', (path, method = 'GET') => get(path, { method })],
  [
    'node:http with an agent that keeps alive',
    (path, method = 'GET') => get(path, { method, agent: new http.Agent({ keepAlive: true }) }),
  ],
  ['axios', (path, method = 'GET') => axios.request({ url: server.url + path, method, decompress: false })],
])('a request of %s', (client, ask) => {
  const followsRedirects = client.includes('etch') || client === 'axios';

  it.each<[what: string, path: string, expected: Cost]>([
    ['with a body of a known length', '/ok', { count: 1, errors: 0, bytes: 20 }],
    ['without a body', '/empty', { count: 1, errors: 0, bytes: 0 }],
    ['for what is not there', '/missing', { count: 1, errors: 0 }],
    ['that the server cannot answer', '/broken', { count: 1, errors: 1 }],
    ['that takes its time', '/slow', { count: 1, errors: 0 }],
    ['whose connection breaks before the response', '/reset', { count: 1, errors: 1, bytes: 0 }],
    ['whose connection breaks within the response', '/cut', { count: 1, errors: 1 }],
    ['with a large body', '/large', { count: 1, errors: 0, bytes: LARGE }],
  ])('%s is counted', async (_what, path, expected) => {
    expect(await costOf(() => quietly(ask(path)))).toMatchObject({ ...expected, targets: [server.host] });
  });

  it('with HEAD has no body, whatever its length says', async () => {
    expect(await costOf(() => ask('/ok', 'HEAD'))).toMatchObject({ count: 1, errors: 0, bytes: 0 });
  });

  it('is counted once for each hop of a redirect', async () => {
    const expected = followsRedirects ? { count: 2, errors: 0, bytes: 20 } : { count: 1, errors: 0 };
    expect(await costOf(() => ask('/redirect'))).toMatchObject(expected);
  });

  it('is counted each time: one after the other, and at once', async () => {
    const record = await recordOf(async () => {
      for (let i = 0; i < 5; i++) await ask('/ok');
      await Promise.all(Array.from({ length: 5 }, () => ask('/slow')));
    });
    expect(record.http).toMatchObject({ count: 10, errors: 0, byTarget: { [server.host]: { count: 10 } } });
    expect(record.http!.maxConcurrent).toBeGreaterThan(1);
    expect(record.queries.count).toBe(0);
  });

  it('lasts until its body has been received', async () => {
    const { http: cost } = await recordOf(() => ask('/slow-body'));
    expect(cost!.durationMs).toBeGreaterThan(50);
    expect(cost!.busyMs).toBeGreaterThan(50);
  });

  it('leaves neither its path nor its query in the record', async () => {
    const record = await recordOf(() => quietly(ask('/secret-1?token=secret-2#secret-3')));
    expect(record.http).toMatchObject({ count: 1, errors: 1 });
    expect(JSON.stringify(record)).not.toContain('secret-');
  });

  it('that cannot be connected is one error', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise(resolve => taken.once('listening', resolve));
    const { port } = taken.address() as AddressInfo;
    await new Promise(resolve => taken.close(resolve));
    const original = server;
    server = { ...server, url: `http://127.0.0.1:${port}` };
    try {
      const cost = costOf(() => quietly(client === 'pool.request' ? refused(server.url) : ask('/ok')));
      expect(await cost).toEqual({ count: 1, errors: 1, bytes: 0, targets: [`127.0.0.1:${port}`] });
    } finally {
      server = original;
    }
  });
});

async function refused(url: string): Promise<unknown> {
  const one = new undici.Pool(url);
  return one.request({ path: '/', method: 'GET' }).finally(() => void one.destroy());
}

describe('a request that is not ended by its server', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['fetch with a signal', () => fetch(`${server.url}/never`, { signal: AbortSignal.timeout(30) })],
    [
      'fetch, aborted within the body',
      async () => (await fetch(`${server.url}/slow-body`, { signal: AbortSignal.timeout(30) })).text(),
    ],
    ['undici with a timeout', () => undici.request(`${server.url}/never`, { headersTimeout: 30 })],
    [
      'undici, whose body is destroyed',
      async () => (await undici.request(`${server.url}/large`)).body.destroy().on('error', () => undefined),
    ],
    ['axios with a timeout', () => axios.get(`${server.url}/never`, { timeout: 30 })],
    ['axios with a signal', () => axios.get(`${server.url}/never`, { signal: AbortSignal.timeout(30) })],
    ['node:http with a signal', () => get('/never', { signal: AbortSignal.timeout(30) })],
    [
      'node:http, destroyed before it has a socket',
      () => new Promise(resolve => http.get(`${server.url}/ok`).on('error', resolve).destroy()),
    ],
    [
      'node:http with a timeout that destroys it',
      () =>
        new Promise(resolve => {
          const request = http.get(`${server.url}/never`, { timeout: 30 });
          request.on('timeout', () => request.destroy()).on('error', resolve);
        }),
    ],
    [
      'node:http, whose body is never sent to its end',
      () =>
        new Promise(resolve => {
          const request = http.request(`${server.url}/never`, { method: 'POST' });
          request.on('error', resolve).write('x');
          setTimeout(() => request.destroy(), 30);
        }),
    ],
  ])('%s is one request and one error', async (_name, send) => {
    const cost = await costOf(async () => {
      await quietly(send());
      await new Promise(resolve => setTimeout(resolve, 30));
    });
    expect(cost).toMatchObject({ count: 1, errors: 1, targets: [server.host] });
  });

  it.each<[string, () => Promise<unknown>]>([
    ['fetch', () => fetch(`${server.url}/large`)],
    ['undici', () => undici.request(`${server.url}/large`)],
    ['node:http', () => new Promise(resolve => http.get(`${server.url}/large`, resolve))],
  ])('%s: a body that is not read is counted, and no error', async (_name, send) => {
    expect(await costOf(send)).toMatchObject({ count: 1, errors: 0, bytes: expect.any(Number) });
  });

  it.each<[string, () => Promise<unknown>]>([
    ['fetch', () => fetch(`http://no-such-host-${process.pid}.invalid/secret`)],
    ['undici', () => undici.request(`http://no-such-host-${process.pid}.invalid/secret`)],
    ['axios', () => axios.get(`http://no-such-host-${process.pid}.invalid/secret`)],
  ])('%s: a name that is not known is one error', async (_name, send) => {
    expect(await costOf(() => quietly(send()))).toEqual({
      count: 1,
      errors: 1,
      bytes: 0,
      targets: [`no-such-host-${process.pid}.invalid`],
    });
  });
});

describe('a request', () => {
  it('with a body is counted once, and what it sends is not what it receives', async () => {
    const body = 'x'.repeat(1_000);
    const cost = await costOf(async () => {
      await (await fetch(`${server.url}/ok`, { method: 'POST', body, keepalive: true })).text();
      await axios.post(`${server.url}/ok`, body);
      await get('/ok', { method: 'PUT' }, body);
    });
    expect(cost).toMatchObject({ count: 3, errors: 0, bytes: 60 });
  });

  it('that is answered in chunks has its bytes where the client tells them', async () => {
    const ask = async () => (await pool.request({ path: '/chunked', method: 'GET' })).body.text();
    expect(await costOf(ask)).toMatchObject({ count: 1, errors: 0, bytes: 2 * OK.length });
    expect(await costOf(() => get('/chunked'))).toMatchObject({ count: 1, errors: 0, bytes: 0 });
  });

  it('that is answered with 304 has no bytes', async () => {
    expect(await costOf(() => get('/not-modified'))).toMatchObject({ count: 1, errors: 0, bytes: 0 });
    expect(await costOf(() => undici.request(`${server.url}/not-modified`))).toMatchObject({ bytes: 0 });
  });

  it('that waits for a connection of its agent waits as part of its duration', async () => {
    const agent = new http.Agent({ maxSockets: 1 });
    const { http: cost } = await recordOf(() =>
      Promise.all([get('/slow', { agent }), get('/slow', { agent })]),
    );
    expect(cost).toMatchObject({ count: 2, maxConcurrent: 2 });
    expect(cost!.durationMs).toBeGreaterThan(50 + 100);
  });

  it('that waits in a Pool of undici begins when it has a connection', async () => {
    const one = new undici.Pool(server.url, { connections: 1 });
    const ask = async () => (await one.request({ path: '/slow', method: 'GET' })).body.text();
    const { http: cost } = await recordOf(() => Promise.all([ask(), ask()]));
    await one.destroy();
    expect(cost).toMatchObject({ count: 2, maxConcurrent: 1 });
    expect(cost!.durationMs).toBeGreaterThan(50 + 50);
  });

  it('is named by its host, with the port that is not the default, and not by its Host header', async () => {
    const lookup = (_name: string, _options: unknown, done: (error: null, addresses: object[]) => void) =>
      done(null, [{ address: '127.0.0.1', family: 4 }]);
    const agent = new http.Agent({ lookup } as never);
    const cost = await costOf(async () => {
      await quietly(undici.request('http://127.0.0.1/ok', { headersTimeout: 50 }));
      await quietly(axios.get('http://127.0.0.1/ok'));
      for (const host of ['another.example', 'secret-127.0.0.1', '127.0.0.1.secret', '127.0.0.1:secret']) {
        await get('/ok', { headers: { host } });
      }
      await new Promise(resolve =>
        http.get(`http://named.example:${server.port}/ok`, { agent }, resolve).on('error', resolve),
      );
    });
    expect(cost.targets).toEqual(['127.0.0.1', `named.example:${server.port}`]);
  });

  it('through a proxy is named by the host that it is for', async () => {
    const { hostname, port } = new URL(server.url);
    const cost = await costOf(async () => {
      await quietly(
        axios.get('http://api.example/ok?secret', { proxy: { host: hostname, port: Number(port) } }),
      );
      const proxy = new undici.ProxyAgent({ uri: server.url, proxyTunnel: false });
      await undici.request('http://other.example:8080/ok?secret', { dispatcher: proxy });
      await proxy.destroy();
    });
    expect(cost).toMatchObject({ count: 2, targets: ['api.example', 'other.example:8080'] });
  });

  it('of an application that comes in is not one that goes out', async () => {
    const before = test.sink.records.length;
    await new Promise(resolve =>
      http.get(`${test.url}/nowhere`, response => response.resume().on('end', resolve)),
    );
    const record = await until(() => test.sink.records[before], 'record');
    expect(record).toMatchObject({ kind: 'http', status: 404 });
    expect(record.http).toBeUndefined();
  });

  it('in uncounted() is counted apart', async () => {
    const context = test.app.get(ContextService);
    const record = await recordOf(() =>
      context.uncounted('a probe', () => Promise.all([get('/ok'), fetch(`${server.url}/ok`)])),
    );
    expect(record.http).toBeUndefined();
    expect(record.uncounted).toMatchObject([{ reason: 'a probe', http: 2 }]);
  });

  it('by https is named without 443', async () => {
    // Without a certificate: the two sides agree on a key beforehand.
    const tls = {
      ciphers: 'PSK',
      maxVersion: 'TLSv1.2',
      minVersion: 'TLSv1.2',
    } as const;
    const secure = createHttpsServer(
      { ...tls, pskCallback: () => Buffer.from('for this test') },
      (_request, response) => response.end(OK),
    ).listen(0, '127.0.0.1');
    await new Promise(resolve => secure.once('listening', resolve));
    const { port } = secure.address() as AddressInfo;
    const ask = (address: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        httpsRequest(
          address,
          {
            ...tls,
            pskCallback: () => ({ psk: Buffer.from('for this test'), identity: 'test' }),
            checkServerIdentity: () => undefined,
            agent: false,
          } as RequestOptions,
          response => response.resume().on('end', () => resolve(response.statusCode)),
        )
          .on('error', reject)
          .end();
      });
    const cost = await costOf(async () => {
      expect(await ask(`https://127.0.0.1:${port}/ok`)).toBe(200);
      await quietly(ask('https://127.0.0.1/ok'));
    });
    secure.close();
    expect(cost).toMatchObject({ count: 2, errors: 1, targets: [`127.0.0.1:${port}`, '127.0.0.1'] });
  });
});

describe('an upgrade', () => {
  const echo = (request: http.ClientRequest, event: 'upgrade' | 'connect') =>
    new Promise<string>((resolve, reject) => {
      request.on('error', reject);
      request.on(event, (_response, socket) => {
        socket.once('data', (data: Buffer) => {
          socket.destroy();
          resolve(data.toString());
        });
        socket.write('hello');
      });
      request.end();
    });

  it('of node:http works, and is one request', async () => {
    const cost = await costOf(async () => {
      const headers = { connection: 'upgrade', upgrade: 'echo' };
      expect(await echo(http.request(server.url, { headers }), 'upgrade')).toBe('hello');
    });
    expect(cost).toEqual({ count: 1, errors: 0, bytes: 0, targets: [server.host] });
  });

  it('of undici works, and is one request', async () => {
    const cost = await costOf(async () => {
      const { socket } = await undici.upgrade(server.url, { protocol: 'echo' });
      socket.write('hello');
      expect(await new Promise(resolve => socket.once('data', data => resolve(String(data))))).toBe('hello');
      socket.destroy();
    });
    expect(cost).toEqual({ count: 1, errors: 0, bytes: 0, targets: [server.host] });
  });

  it('with CONNECT works; it opens a connection, and is not counted', async () => {
    const cost = await costOf(async () => {
      const request = http.request(server.url, { method: 'CONNECT', path: 'example.com:443' });
      expect(await echo(request, 'connect')).toBe('hello');
      const { socket } = await undici.connect(server.url, { headers: {} } as never);
      socket.write('hello');
      expect(await new Promise(resolve => socket.once('data', data => resolve(String(data))))).toBe('hello');
      socket.destroy();
    });
    expect(cost).toEqual({ count: 0 });
  });
});

describe.skipIf(nodeMajor < 22)('a request of node:http2', () => {
  it.each<[what: string, path: string, expected: Cost]>([
    ['with a body of a known length', '/ok', { count: 1, errors: 0, bytes: 20 }],
    ['for what is not there', '/missing', { count: 1, errors: 0 }],
    ['that the server cannot answer', '/broken', { count: 1, errors: 1 }],
  ])('%s is counted', async (_what, path, expected) => {
    expect(await costOf(() => get2(path))).toMatchObject({ ...expected, targets: [http2Server.host] });
  });

  it('that is cancelled is one error', async () => {
    const cost = await costOf(
      () =>
        new Promise(resolve => {
          const stream = session.request({ ':path': '/never' });
          stream.on('close', resolve);
          setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 20);
        }),
    );
    expect(cost).toMatchObject({ count: 1, errors: 1 });
  });

  it('is named by the host that is connected to, and not by its authority', async () => {
    const cost = await costOf(() => get2('/ok', { ':authority': 'another.example' }));
    expect(cost).toMatchObject({ count: 1, errors: 0, targets: [http2Server.host] });
  });

  it('that is sent by undici is counted once', async () => {
    const client = new undici.H2CClient(http2Server.url);
    const cost = await costOf(async () => (await client.request({ path: '/ok', method: 'GET' })).body.text());
    await client.destroy();
    expect(cost).toEqual({ count: 1, errors: 0, bytes: 20, targets: [http2Server.host] });
  });

  it('that gRPC sends is not counted', async () => {
    const headers = { ':method': 'POST', 'content-type': 'application/grpc+proto' };
    expect(await costOf(() => get2('/ok', headers))).toEqual({ count: 0 });
  });
});
