import { Controller, Get, Query } from '@nestjs/common';
import { context as otel, trace } from '@opentelemetry/api';
import { suppressTracing } from '@opentelemetry/core';
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace-node';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get, type RequestListener } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { request as undici } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import { startHttpServer, type TestServer } from '../support/http-server';
import { platforms, startApp, type TestApp, until } from '../support/platforms';
import { recordOfUnit } from '../support/units';

type Send = (url: string) => Promise<unknown>;

const CLIENTS: Record<string, Send> = {
  fetch: async url => (await fetch(url)).text(),
  'node:http': url =>
    new Promise((resolve, reject) => {
      get(url, response => response.resume().on('end', resolve)).on('error', reject);
    }),
  undici: async url => (await undici(url)).body.text(),
};

const root = join(import.meta.dirname, '../..');
let folder: string;
let server: TestServer;
/** Where the application calls, and the agent as well. */
let url: string;
let test: TestApp;

/** A file of a package that is not installed here: where a file lies says whose it is. */
function loadFile<T>(path: string, source: string): T {
  const file = join(folder, 'node_modules', path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, source);
  return createRequire(file)(file) as T;
}

const PASS_ON = `module.exports = (send, url) => send(url);`;
const LATER = `module.exports = (send, url, done) => setTimeout(() => send(url).finally(done), 20);`;

/** What the call on a fourth server of an agent comes to, in a unit of work that calls three times itself. */
async function callsBeside(work: () => unknown, send: Send): Promise<CostRecord['http']> {
  const { http } = await recordOfUnit(test, async () => {
    for (let i = 0; i < 3; i++) await send(url);
    await work();
  });
  return http;
}

beforeAll(async () => {
  mkdirSync(join(root, '.cache'), { recursive: true });
  folder = mkdtempSync(join(root, '.cache', 'agent-'));
  server = await startHttpServer();
  url = `${server.url}/ok`;
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});
afterEach(() => test?.close());

describe.each(Object.entries(CLIENTS))('with %s', (_client, send) => {
  it.each([
    'elastic-apm-node/lib/apm-client/http-apm-client/index.js',
    'newrelic/lib/collector/remote-method.js',
    '@sentry/node-core/build/cjs/transports/http.js',
    '@opentelemetry/otlp-exporter-base/build/src/transport/http-transport-utils.js',
    'dd-trace/packages/dd-trace/src/exporters/common/request.js',
  ])("what %s sends is nobody's, the calls of the application are its own", async path => {
    const exporter = loadFile<(send: Send, url: string) => Promise<unknown>>(path, PASS_ON);
    const exportLater = loadFile<(send: Send, url: string, done: () => void) => void>(
      `${path}.later.js`,
      LATER,
    );
    test = await startApp({});
    let finished: Promise<void> | undefined;
    const http = await callsBeside(async () => {
      // The same host as that of the application, which has gone there often.
      await exporter(send, url);
      finished = new Promise(resolve => exportLater(send, url, resolve));
    }, send);
    await finished;
    expect(http).toMatchObject({ count: 3, late: 0, errors: 0 });
    expect(test.logs.of('warn', 'LateWork')).toEqual([]);
  });

  it.each([
    'dd-trace/packages/datadog-instrumentations/src/http/client.js',
    'elastic-apm-node/lib/instrumentation/modules/http.js',
    '@sentry/core/build/cjs/integrations/http/client-patch.js',
    '@opentelemetry/instrumentation-http/build/src/http.js',
  ])('a call of the application that goes through %s is its own', async path => {
    const wrapper = loadFile<(send: Send, url: string) => Promise<unknown>>(path, PASS_ON);
    test = await startApp({});
    expect(await callsBeside(() => wrapper(send, url), send)).toMatchObject({ count: 4 });
  });

  it("what runs in the noop store of dd-trace is nobody's", async () => {
    const { storage } = loadFile<{
      storage: (name: string) => { run: <T>(store: object, fn: () => T) => T };
    }>(
      'dd-trace/packages/datadog-core/index.js',
      `const { AsyncLocalStorage } = require('node:async_hooks');
       const legacy = new AsyncLocalStorage();
       module.exports = { storage: () => legacy };`,
    );
    test = await startApp({});
    const quietly = (): unknown => storage('legacy').run({ noop: true }, () => send(url));
    expect(await callsBeside(quietly, send)).toMatchObject({ count: 3 });
    expect(await callsBeside(() => storage('legacy').run({}, () => send(url)), send)).toMatchObject({
      count: 4,
    });
  });
});

describe.each(platforms)('with an exporter of OpenTelemetry on %s', platform => {
  @Controller()
  class CallController {
    @Get('calls')
    async calls(@Query('client') client: string) {
      for (let i = 0; i < 3; i++) {
        await trace.getTracer('test').startActiveSpan('call', async span => {
          await CLIENTS[client]!(url);
          span.end();
        });
      }
      return 'done';
    }
  }

  it.each(Object.entries(CLIENTS))(
    'charges requests for their own calls alone, by %s',
    async (client, send) => {
      let exported = 0;
      const exporter: SpanExporter = {
        export(_spans, done) {
          // As exporters do: not at once.
          void Promise.resolve()
            .then(() => send(url))
            .finally(() => {
              exported += 1;
              done({ code: 0 });
            });
        },
        shutdown: () => Promise.resolve(),
      };
      const processor = new BatchSpanProcessor(exporter, { scheduledDelayMillis: 1, maxExportBatchSize: 1 });
      const provider = new NodeTracerProvider({ spanProcessors: [processor] });
      provider.register();
      try {
        test = await startApp({ platform, controllers: [CallController], lateAfterMs: 1 });
        await Promise.all(Array.from({ length: 10 }, () => send(`${test.url}/calls?client=${client}`)));
        const records = await test.records(10);
        await until(() => (exported >= 30 ? true : undefined), '30 exports');
        expect(records.map(({ http }) => [http?.count, http?.late])).toEqual(
          Array.from({ length: 10 }, () => [3, 0]),
        );
        expect(test.logs.of('warn', 'LateWork')).toEqual([]);
      } finally {
        await provider.shutdown();
        otel.disable();
        trace.disable();
      }
    },
  );

  it('charges a request that is not to be traced at all for its calls', async () => {
    const provider = new NodeTracerProvider();
    provider.register();
    try {
      test = await startApp({ platform, controllers: [CallController] });
      // As its instrumentation of HTTP does for routes that it is told to ignore.
      const listeners = test.app.getHttpServer().listeners('request') as RequestListener[];
      test.app
        .getHttpServer()
        .removeAllListeners('request')
        .on('request', (...args: Parameters<RequestListener>) => {
          otel.with(suppressTracing(otel.active()), () => listeners.forEach(listener => listener(...args)));
        });
      await (await fetch(`${test.url}/calls?client=fetch`)).text();
      expect((await test.records(1))[0]?.http).toMatchObject({ count: 3 });
    } finally {
      await provider.shutdown();
      otel.disable();
      trace.disable();
    }
  });
});
