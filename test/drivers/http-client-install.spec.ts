import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { channel } from 'node:diagnostics_channel';
import http from 'node:http';
import { createRequire } from 'node:module';
import * as undici from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  MemorySink,
  ProcessFigures,
} from 'nestjs-async-context';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { startHttpServer, type TestServer } from '../support/http-server';
import { LogLines, until } from '../support/platforms';

const load = createRequire(import.meta.url);
const prototypes = ['core/request', 'dispatcher/fixed-queue', 'dispatcher/dispatcher-base']
  .map(file => load(`undici/lib/${file}.js`) as { prototype: object })
  .map(({ prototype }) => prototype)
  .concat(http.Agent.prototype);
const channels = [
  'undici:request:create',
  'undici:request:headers',
  'undici:request:bodyChunkReceived',
  'undici:request:trailers',
  'undici:request:error',
  'http.client.request.created',
  'http.client.request.start',
  'http2.client.stream.created',
  'http2.client.stream.finish',
];

/** All that the prototypes have, and who listens. */
const facts = () => [
  prototypes.map(prototype => Object.getOwnPropertyDescriptors(prototype)),
  channels.map(name => channel(name).hasSubscribers),
];
const bareFacts = facts();

const opened: { close(): Promise<void> }[] = [];
let server: TestServer;
let pool: undici.Pool;

async function open(options: AsyncContextOptions = {}) {
  const sink = new MemorySink();
  const logs = new LogLines();
  @Module({
    imports: [
      AsyncContextModule.forRoot({
        sinks: [sink],
        sinkQueue: { intervalMs: 20 },
        instrumentations: [httpInstrumentation()],
        ...options,
      }),
    ],
  })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, { logger: logs });
  opened.push(app);
  return { app, sink, logs, context: app.get(ContextService) };
}

async function askAll(): Promise<void> {
  await (await fetch(`${server.url}/ok`)).text();
  await (await pool.request({ path: '/ok', method: 'GET' })).body.text();
  await new Promise(resolve =>
    http.get(`${server.url}/ok`, response => response.resume().on('end', resolve)),
  );
}

/** How many requests are counted for three. */
const countOf = (context: ContextService): Promise<number | undefined> =>
  context.run({}, async () => {
    await askAll();
    return context.cost?.http;
  });

beforeAll(async () => {
  server = await startHttpServer();
  pool = new undici.Pool(server.url, { connections: 1 });
});
afterAll(async () => {
  await pool.destroy();
  await server.close();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map(app => app.close()));
});

describe('the instrumentation of outbound HTTP', () => {
  it('is there while an application runs, and gone afterwards', async () => {
    const { app, context } = await open();
    expect(facts()).not.toEqual(bareFacts);
    expect(await countOf(context)).toBe(3);
    await app.close();
    expect(facts()).toEqual(bareFacts);
    expect(prototypes.map(Reflect.ownKeys)).toEqual(
      (bareFacts[0] as object[]).map(descriptors => Reflect.ownKeys(descriptors)),
    );
    await askAll();
  });

  it('is shared by two applications and stays until the last is closed', async () => {
    const [one, two] = [await open(), await open()];
    expect([await countOf(one.context), await countOf(two.context)]).toEqual([3, 3]);
    await one.app.close();
    expect(await countOf(two.context)).toBe(3);
    await two.app.close();
    expect(facts()).toEqual(bareFacts);
  });

  it('counts once when it is asked for twice', async () => {
    const { context } = await open({ instrumentations: [httpInstrumentation(), httpInstrumentation()] });
    expect(await countOf(context)).toBe(3);
  });

  it('counts once where somebody else has wrapped what it wraps, before it and after it', async () => {
    let theirs = 0;
    const wrap = (target: object, name: string): (() => void) => {
      const { value: original, ...rest } = Object.getOwnPropertyDescriptor(target, name)!;
      const value = function (this: unknown, ...args: unknown[]): unknown {
        theirs += 1;
        return original.apply(this, args);
      };
      Object.defineProperty(target, name, { ...rest, value });
      return () => void Object.defineProperty(target, name, { ...rest, value: original });
    };
    const all: [object, string][] = [
      [prototypes[2]!, 'dispatch'],
      [prototypes[0]!, 'onComplete'],
      [http.Agent.prototype, 'addRequest'],
    ];
    const before = all.map(([target, name]) => wrap(target, name));
    const { app, context } = await open();
    expect(await countOf(context)).toBe(3);
    const after = all.map(([target, name]) => wrap(target, name));
    expect(await countOf(context)).toBe(3);
    expect(theirs).toBeGreaterThan(6);
    await app.close();
    // What is left behind of ours is not wrong in an application that comes later.
    const again = await open();
    expect(await countOf(again.context)).toBe(3);
    for (const undo of after) undo();
    expect(await countOf(again.context)).toBe(3);
    await again.app.close();
    for (const undo of before) undo();
    expect(facts()).toEqual(bareFacts);
  });

  it('lets a request go on that is over its budget, and says so', async () => {
    const { context, logs, sink } = await open({ budget: { http: 1 }, onExceeded: 'throw' });
    await context.run({ handler: 'Probe.run' }, askAll);
    const record = await until(() => sink.records[0], 'record');
    expect(record.http).toMatchObject({ count: 3, errors: 0 });
    expect(record.breaches).toMatchObject([{ dimension: 'http', used: 3, limit: 1 }]);
    expect(logs.lines.map(({ message }) => String(message)).join('\n')).toContain('http');
  });

  it('charges nobody for a request that is made outside of any unit of work', async () => {
    const { app, context } = await open();
    await askAll();
    expect(await countOf(context)).toBe(3);
    expect(app.get(ProcessFigures).attribution.drivers['http']!.charged).toBeGreaterThanOrEqual(3);
  });

  it('warns of an undici whose queue it does not know', async () => {
    const path = Object.keys(load.cache).find(file => file.endsWith('undici/lib/dispatcher/fixed-queue.js'))!;
    const cached = load.cache[path];
    delete load.cache[path];
    try {
      const { logs, context } = await open();
      expect(logs.of('warn', 'AsyncContext')).toEqual([
        expect.stringContaining('with this version of undici, an HTTP request that waits for the pool'),
      ]);
      expect(await countOf(context)).toBe(3);
    } finally {
      load.cache[path] = cached;
    }
  });
});
