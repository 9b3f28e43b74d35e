import { Controller, Get, Inject, Res } from '@nestjs/common';
import { create } from 'axios';
import http from 'node:http';
import * as undici from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget } from 'nestjs-async-context';
import { startHeaderServer } from '../../support/header-server';
import { platforms, startApp, type TestApp, type TestAppOptions } from '../../support/platforms';

const NEXT = Symbol('next');
const query = (context: ContextService, rows: number): void =>
  context.record({ system: 'cassandra', statement: 'SELECT 1', rows, durationMs: 2 });

/** Makes two queries of 20 rows, and asks the next service, if there is one. */
@Controller()
class Service {
  constructor(
    private readonly context: ContextService,
    @Inject(NEXT) private readonly next: string,
  ) {}

  @Get()
  @QueryBudget({ remoteQueries: 3, remoteRows: 1_000 })
  async orders() {
    query(this.context, 20);
    query(this.context, 20);
    if (this.next !== '') await (await fetch(this.next)).text();
    return { queries: this.context.cost?.queries, remote: this.context.cost?.remoteQueries };
  }

  @Get('head-first')
  async headFirst(
    @Res() response: { raw?: import('node:http').ServerResponse } & import('node:http').ServerResponse,
  ) {
    const raw = response.raw ?? response;
    query(this.context, 1);
    raw.write('head');
    query(this.context, 1);
    raw.end();
  }
}

const clean: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of clean.splice(0)) await close();
});

async function start(next: string, options: TestAppOptions = {}): Promise<TestApp> {
  const test = await startApp({
    controllers: [Service],
    providers: [{ provide: NEXT, useValue: next }],
    serverTiming: true,
    propagate: { hosts: ['127.0.0.1'] },
    ...options,
  });
  clean.push(() => test.close());
  return test;
}
const hostOf = ({ url }: TestApp): string => url.slice('http://'.length);

describe.each(platforms)('what other services cost a request on %s', platform => {
  it('is in the live cost and in the record, and the one on top sees the whole tree', async () => {
    const bottom = await start('', { platform });
    const middle = await start(bottom.url, { platform });
    const top = await start(middle.url, { platform });
    const answer = (await (await fetch(top.url)).json()) as object;
    expect(answer).toEqual({ queries: 2, remote: 4 });

    const [record] = await top.records(1);
    const all = { calls: 1, queries: 4, rows: 80, durationMs: 8 };
    expect(record!.remote).toEqual({ ...all, byTarget: { [hostOf(middle)]: all } });
    expect(record!.queries.count).toBe(2);
    expect((await middle.records(1))[0]!.remote).toMatchObject({ queries: 2, rows: 40 });
    expect((await bottom.records(1))[0]).not.toHaveProperty('remote');
  });

  it('may have a budget, whose breach names the host', async () => {
    const bottom = await start('', { platform });
    const middle = await start(bottom.url, { platform });
    const top = await start(middle.url, { platform });
    await fetch(top.url);
    const [record] = await top.records(1);
    expect(record!.breaches).toEqual([
      { dimension: 'remoteQueries', used: 4, limit: 3, from: '@QueryBudget on Service.orders' },
    ]);
    const line = top.logs.of('error', 'QueryBudget').join();
    expect(line).toContain(': 4 queries in other services (budget 3)');
    expect(line).toContain(`remote 4 queries in 1 call (${hostOf(middle)} 4), 80 rows, 8 ms`);
    expect(line).toContain(`look at the records of ${hostOf(middle)} under trace id ${record!.traceId}`);
    // Its own two are within the budget, and so are the two of the bottom.
    expect((await middle.records(1))[0]!.breaches).toEqual([]);
  });

  it('is what was known when the head was written', async () => {
    const bottom = await start('', { platform });
    const top = await start(`${bottom.url}/head-first`, { platform });
    await fetch(top.url);
    expect((await top.records(1))[0]!.remote).toMatchObject({ queries: 1, rows: 1 });
    expect((await bottom.records(1))[0]!.queries.count).toBe(2);
  });

  it('is answered and read only where both sides want it', async () => {
    const silent = await start('', { platform, serverTiming: false });
    const notListed = await start('', { platform });
    const asks = await start(silent.url, { platform });
    const listsNone = await start(notListed.url, { platform, propagate: {} });
    for (const { url } of [asks, listsNone]) await fetch(url);
    expect((await asks.records(1))[0]).not.toHaveProperty('remote');
    expect((await listsNone.records(1))[0]).not.toHaveProperty('remote');
  });
});

const CLIENTS: Record<string, (url: string) => Promise<unknown>> = {
  fetch: async url => (await fetch(url)).text(),
  'undici.request': async url => (await undici.request(url)).body.text(),
  'http.get': url =>
    new Promise((resolve, reject) => {
      http.get(url, response => response.resume().on('end', resolve)).on('error', reject);
    }),
  axios: url => create().get(url),
};

describe.each(Object.keys(CLIENTS))('the cost in an answer to %s', name => {
  const send = CLIENTS[name]!;

  it('goes to the unit of work that has asked, among many at once', async () => {
    const server = await startHeaderServer((request, response) => {
      const queries = request.url!.slice(2);
      response.setHeader('Server-Timing', ['cdn;dur=1', `nac;dur=1;desc="${queries} queries 1 rows"`]);
      setTimeout(() => response.end(), 1 + (Number(queries) % 5));
    });
    clean.push(() => server.close());
    const test = await start('', { instrumentations: [] });
    const context = test.app.get(ContextService);
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        context.run({ requestId: `r-${i}` }, () => send(`${server.url}/p${i + 1}`)),
      ),
    );
    const records = await test.records(20);
    const seen = records.map(({ requestId, remote }) => [requestId, remote?.queries]);
    expect(new Map(seen as [string, number][])).toEqual(
      new Map(Array.from({ length: 20 }, (_, i) => [`r-${i}`, i + 1])),
    );
  });

  it('is ignored when it is malformed, and when the call is declared not to count', async () => {
    const server = await startHeaderServer((request, response) => {
      response.setHeader('Server-Timing', `nac;dur=1;desc="${request.url!.slice(1)} queries 1 rows"`);
      response.end();
    });
    clean.push(() => server.close());
    const test = await start('');
    const context = test.app.get(ContextService);
    await context.run({}, () => send(`${server.url}/many`));
    expect((await test.records(1))[0]).not.toHaveProperty('remote');
    await context.run({}, async () => {
      await send(`${server.url}/3`);
      await context.uncounted('apart', () => send(`${server.url}/4`));
      expect(context.cost?.remoteQueries).toBe(3);
    });
    expect((await test.records(2))[1]!.remote).toMatchObject({ calls: 1, queries: 3 });
  });
});
