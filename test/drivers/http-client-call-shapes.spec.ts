import axios from 'axios';
import http from 'node:http';
import { PassThrough, Writable } from 'node:stream';
import * as undici from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { startHttpServer, type TestServer } from '../support/http-server';
import { startApp } from '../support/platforms';

let server: TestServer;
let pool: undici.Pool;

/** What a call gives back, and what it calls in which order. */
type Log = unknown[];

const EVENTS = ['socket', 'finish', 'response', 'information', 'abort', 'timeout', 'error', 'close'];

/** A request of Node with all that it says until it is closed. */
function watched(start: () => http.ClientRequest, log: Log, read = true): Promise<void> {
  return new Promise(resolve => {
    const request = start();
    for (const name of EVENTS) {
      request.on(name, function (this: unknown, value: unknown) {
        log.push([name, this === request, codeOf(value)]);
        if (name === 'close') resolve();
      });
    }
    request.on('response', (response: http.IncomingMessage) => {
      log.push([response.statusCode, response.listenerCount('end'), response.listenerCount('close')]);
      for (const name of ['aborted', 'error', 'end', 'close'] as const) {
        response.on(name, () => log.push(['response', name, response.complete]));
      }
      if (read) response.on('data', (chunk: Buffer) => log.push(chunk.toString()));
    });
    log.push(Object.keys(request).toSorted());
  });
}

function codeOf(value: unknown): unknown {
  if (!(value instanceof Error)) return typeof value;
  const { code, cause } = value as Error & { code?: unknown };
  return [value.constructor.name, value.message, code, cause === undefined ? '' : codeOf(cause)];
}

/** A promise as what it settles with. */
const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => ['resolved', value],
    (error: unknown) => ['rejected', codeOf(error)],
  );

const shapes: Record<string, (log: Log) => unknown> = {
  fetch: async log => {
    const response = await fetch(`${server.url}/redirect`, { keepalive: true });
    log.push(response.redirected, response.status, [...response.headers.keys()], await response.text());
  },
  'fetch that follows no redirect': async log => {
    log.push((await fetch(`${server.url}/redirect`, { redirect: 'manual' })).status);
    log.push(await settled(fetch(`${server.url}/redirect`, { redirect: 'error' })));
  },
  'fetch that is aborted with a reason': async log => {
    const reason = new RangeError('mine');
    const aborter = new AbortController();
    setTimeout(() => aborter.abort(reason), 20);
    log.push(await fetch(`${server.url}/never`, { signal: aborter.signal }).catch(error => error === reason));
  },
  'fetch of a stream': async log => {
    const response = await fetch(`${server.url}/chunked`);
    for await (const chunk of response.body!) log.push(Buffer.from(chunk).toString());
  },
  'fetch that fails': async log => {
    log.push(await settled(fetch(`${server.url}/reset`)), await settled(fetch('http://[bad')));
  },
  'undici with a callback': log =>
    new Promise(resolve => {
      const result = pool.request(
        { path: '/ok', method: 'GET', opaque: 'mine' },
        function (this: unknown, error, data) {
          log.push(this === undefined, error, data.statusCode, data.opaque);
          data.body.on('end', resolve).resume();
        },
      );
      log.push(result);
    }),
  'undici with a callback that gets an error': log =>
    new Promise<void>(resolve => {
      pool.request({ path: '/reset', method: 'GET' }, error => {
        log.push(codeOf(error));
        resolve();
      });
    }),
  'undici with arguments that are wrong': async log => {
    // undici never uses a connection again that was given a request that it cannot make.
    const one = new undici.Pool(server.url);
    log.push(await settled(one.request({ path: 'no slash', method: 'GET' })));
    log.push(await settled(one.request({ path: '/ok', method: 'BAD METHOD' as 'GET' })));
    log.push(await settled(one.request(undefined as never)));
    try {
      one.dispatch({ path: '/ok', method: 'GET' }, undefined as never);
    } catch (error) {
      log.push('thrown', codeOf(error));
    }
    await one.destroy();
  },
  'undici as a stream': async log => {
    const chunks: string[] = [];
    const { opaque } = await pool.stream(
      { path: '/chunked', method: 'GET', opaque: 'mine' },
      ({ statusCode, opaque: own }) => {
        log.push(statusCode, own);
        return new Writable({ write: (chunk, _encoding, done) => (chunks.push(String(chunk)), done()) });
      },
    );
    log.push(chunks.join(''), opaque);
  },
  'undici as a pipeline': async log => {
    const through = new PassThrough();
    through.end('sent');
    const answer = through.pipe(pool.pipeline({ path: '/echo', method: 'POST' }, ({ body }) => body));
    for await (const chunk of answer) log.push(String(chunk));
  },
  'undici as a raw dispatch': log =>
    new Promise<void>(resolve => {
      const handler = {
        onRequestStart(this: unknown) {
          log.push('start', this === handler);
        },
        onResponseStart(this: unknown, _controller: unknown, status: number) {
          log.push('response', status, this === handler);
        },
        onResponseData(this: unknown, _controller: unknown, chunk: Buffer) {
          log.push('data', chunk.toString(), this === handler);
        },
        onResponseEnd(this: unknown) {
          log.push('end', this === handler);
          resolve();
        },
        onResponseError() {
          log.push('error');
        },
      };
      log.push(pool.dispatch({ path: '/chunked', method: 'GET' }, handler as never));
    }),
  'undici while its pool is full': async log => {
    const answers = Array.from({ length: 6 }, async (_, n) => {
      const { body } = await pool.request({ path: '/soon', method: 'GET' });
      await body.dump();
      return n;
    });
    log.push((await Promise.all(answers)).toSorted(), pool.stats.queued);
  },
  'undici whose pool is destroyed while requests wait': async log => {
    const one = new undici.Pool(server.url, { connections: 1 });
    const answers = Array.from({ length: 3 }, () => settled(one.request({ path: '/never', method: 'GET' })));
    log.push(await settled(one.destroy(new RangeError('mine'))), await Promise.all(answers));
  },
  'undici that is aborted while it waits': async log => {
    const one = new undici.Pool(server.url, { connections: 1 });
    const first = one.request({ path: '/slow', method: 'GET' });
    const aborter = new AbortController();
    const second = settled(one.request({ path: '/ok', method: 'GET', signal: aborter.signal }));
    aborter.abort(new RangeError('mine'));
    log.push(await second, (await first).statusCode);
    await one.destroy();
  },
  'node:http with a callback': log =>
    watched(
      () =>
        http.get(`${server.url}/ok`, { agent: false }, response => log.push('callback', response.statusCode)),
      log,
    ),
  'node:http that keeps alive': async log => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    await Promise.all([1, 2].map(() => watched(() => http.get(new URL('/ok', server.url), { agent }), log)));
    agent.destroy();
  },
  'node:http with a body': log =>
    watched(() => {
      const request = http.request({
        host: '127.0.0.1',
        port: server.port,
        path: '/echo',
        method: 'POST',
        agent: false,
      });
      log.push(request.write('a'), request.end('b') === request);
      return request;
    }, log),
  'node:http whose response nobody takes': async log => {
    await new Promise<void>(resolve => {
      const request = http.get(`${server.url}/ok`, { agent: false });
      request.on('close', () => {
        log.push('close', request.destroyed);
        resolve();
      });
    });
  },
  'node:http that breaks': async log => {
    await watched(() => http.get(`${server.url}/reset`, { agent: false }), log);
    await watched(() => http.get(`${server.url}/cut`, { agent: false }), log);
  },
  'node:http that is aborted': async log => {
    const aborter = new AbortController();
    setTimeout(() => aborter.abort(new RangeError('mine')), 20);
    await watched(() => http.get(`${server.url}/never`, { signal: aborter.signal, agent: false }), log);
    await watched(() => http.get(`${server.url}/ok`, { agent: false }).destroy(new RangeError('mine')), log);
  },
  'node:http with arguments that are wrong': log => {
    for (const options of [
      { path: 'a b' },
      { method: 'A B' },
      { protocol: 'ftp:' },
      { headers: { a: 'ä\n' } },
    ]) {
      try {
        http.request(options);
      } catch (error) {
        log.push(codeOf(error));
      }
    }
  },
  'node:http with an agent of its own': async log => {
    class Own extends http.Agent {
      override createConnection(...args: Parameters<http.Agent['createConnection']>) {
        log.push('own connection');
        return super.createConnection(...args);
      }
    }
    await watched(() => http.get(`${server.url}/ok`, { agent: new Own() }), log);
  },
  axios: async log => {
    const { status, data, request } = await axios.get(`${server.url}/redirect`, { params: { a: 1 } });
    log.push(status, data, request.path);
    log.push(
      await settled(axios.get(`${server.url}/broken`)),
      await settled(axios.get(`${server.url}/reset`)),
    );
    log.push(await settled(axios.get(`${server.url}/never`, { timeout: 20 })));
    log.push(await settled(axios.get(`${server.url}/large`, { maxContentLength: 1_000 })));
  },
  'axios with a stream': async log => {
    const { data } = await axios.get(`${server.url}/chunked`, { responseType: 'stream' });
    let text = '';
    for await (const chunk of data) text += String(chunk);
    log.push(text);
  },
};

async function logOf(name: string): Promise<Log> {
  const log: Log = [];
  // The connections of the shape before come to rest, with and without an application started between.
  await new Promise(resolve => setTimeout(resolve, 20));
  await shapes[name]!(log);
  return log;
}

const bare = new Map<string, Log>();

beforeAll(async () => {
  server = await startHttpServer();
  pool = new undici.Pool(server.url, { connections: 2 });
  for (const name of Object.keys(shapes)) bare.set(name, await logOf(name));
});
afterAll(async () => {
  await pool.destroy();
  await server.close();
});

describe('a request that is counted behaves as one that is not', () => {
  it.each(Object.keys(shapes))('%s', async name => {
    const test = await startApp({ instrumentations: [httpInstrumentation()] });
    try {
      const context = test.app.get(ContextService);
      const [log, counted] = await context.run({}, async () => [await logOf(name), context.cost!.http]);
      expect(log).toEqual(bare.get(name));
      if (!name.includes('arguments that are wrong')) expect(counted).toBeGreaterThan(0);
      expect(log.length).toBeGreaterThan(0);
    } finally {
      await test.close();
    }
  });
});
