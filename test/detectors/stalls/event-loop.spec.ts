import { Controller, Get, Param } from '@nestjs/common';
import { AsyncResource } from 'node:async_hooks';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessFigures, QueryBudget } from 'nestjs-async-context';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventLoop } from '../../../lib/context/context-storage';
import { HttpLoad } from '../../support/http-load';
import { platforms, startApp, type TestApp, until } from '../../support/platforms';

const require = createRequire(import.meta.url);
const path = require.resolve('../../support/blocking-work.cjs');
const work = require(path) as {
  prepare(): void;
  spin(ms: number): number;
  parse(): number;
  derive(): number;
};

/** The lines that end with a mark. */
function linesMarked(mark: string): number[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.flatMap((line, i) => (line.endsWith(`// ${mark}`) ? [i + 1] : []));
}

// Made outside of any unit of work, so that it has none.
const outside = new AsyncResource('outside');

/** Of requests that wait until they are let go. */
const waiters: (() => void)[] = [];
function letGo(): void {
  for (const resolve of waiters.splice(0)) resolve();
}

@Controller()
class Reports {
  @Get('spin/:ms')
  spin(@Param('ms') ms: string) {
    return work.spin(Number(ms));
  }

  @Get('parse')
  parse() {
    return work.parse();
  }

  @Get('derive')
  derive() {
    return work.derive();
  }

  @Get('background/:ms')
  background(@Param('ms') ms: string) {
    setTimeout(() => outside.runInAsyncScope(() => work.spin(Number(ms))), 20);
    return 'later';
  }

  @Get('waits')
  async waits() {
    await new Promise<void>(resolve => waiters.push(resolve));
    return 'waited';
  }

  @Get('limited/:ms')
  @QueryBudget({ loopBlockMs: 200 })
  limited(@Param('ms') ms: string) {
    return work.spin(Number(ms));
  }
}

describe.each(platforms)('a stall of the event loop on %s', platform => {
  let test: TestApp;
  let load: HttpLoad;
  beforeAll(async () => {
    work.prepare();
    load = new HttpLoad();
    test = await startApp({ platform, controllers: [Reports], slowAfterMs: 0 });
    // The watchdog's thread is made a second after the application, and starts in about 50 ms.
    await until(() => eventLoop.suspendedMs !== undefined, 'watchdog');
    await sleep(300);
  });
  afterAll(async () => {
    await test.close();
    await load.close();
  });

  // One that breaks a budget as well is in the line of that.
  const stalls = (): string[] =>
    [...test.logs.of('error', 'EventLoop'), ...test.logs.of('error', 'QueryBudget')].filter(line =>
      line.includes('blocked the event loop'),
    );

  async function stallOf(route: string): Promise<string> {
    const known = stalls();
    await (await fetch(test.url + route)).text();
    await until(() => stalls().length > known.length, 'line of a stall');
    return stalls().find(line => !known.includes(line))!;
  }

  it.each([300, 2_000])('of %d ms is reported once, and so are 100 requests that waited', async ms => {
    const before = stalls().length;
    const known = test.sink.records.length;
    const waiting = load.send(`${test.url}/waits`, 100);
    await until(() => waiters.length === 100, '100 open requests');
    // Each its own handler: the same one is looked at once a minute.
    const route = ms === 300 ? `/limited/${ms}` : `/spin/${ms}`;
    const name = ms === 300 ? 'Reports.limited' : 'Reports.spin';
    const line = await stallOf(route);
    letGo();
    await waiting;
    const records = (await test.records(known + 101)).slice(known);

    expect(stalls()).toHaveLength(before + 1);
    expect(line).toMatch(new RegExp(`^${name}:? blocked the event loop for `));
    expect(linesMarked('spin')).toContain(Number(/at +blocking-work\.cjs:(\d+) spin/.exec(line)?.[1]));
    expect(line).toContain('100 other requests, jobs or messages');
    const waited = records.filter(({ handler }) => handler === 'Reports.waits');
    expect(waited).toHaveLength(100);
    const culprit = records.find(({ handler }) => handler === name)!;
    expect(culprit.blockedMs).toBeGreaterThan(ms * 0.7);
    expect(culprit.time.ownMs).toBeGreaterThanOrEqual(culprit.blockedMs!);
    for (const { time, stalls: by } of waited) {
      // The whole block of the one is a stall of all others, which the machine may have stalled besides.
      const stall = by?.find(({ handler }) => handler === name);
      expect(stall?.ms).toBe(culprit.blockedMs);
      expect(time.stalledMs).toBeGreaterThan(stall!.ms * 0.9);
      expect(time.ownMs).toBeLessThan(ms / 2);
    }
  });

  it.each(['parse', 'derive'])('names the handler and the line of %s', async what => {
    const line = await stallOf(`/${what}`);

    expect(line).toContain(`Reports.${what} blocked the event loop for `);
    expect(linesMarked(what)).toContain(Number(/ at blocking-work\.cjs:(\d+) /.exec(line)?.[1]));
  });

  it('says when nobody was at fault that it knows', async () => {
    const known = test.sink.records.length;
    const waiting = fetch(`${test.url}/waits`).then(response => response.text());
    await until(() => waiters.length === 1, 'open request');
    const line = await stallOf('/background/400');
    letGo();
    await waiting;

    expect(line).toContain('Work outside of any request, job or message blocked the event loop for ');
    const record = await until(
      () => test.sink.records.slice(known).find(({ handler }) => handler === 'Reports.waits'),
      'record',
    );
    const stall = record.stalls?.find(({ at }) => at !== undefined);
    expect(stall?.at).toMatch(/^blocking-work\.cjs:\d+ spin$/);
    expect(stall).not.toHaveProperty('handler');
  });

  it('breaks a budget of milliseconds, without the watchdog as well', async () => {
    await (await fetch(`${test.url}/limited/300`)).text();
    await (await fetch(`${test.url}/limited/60`)).text();

    const records = await until(() => {
      const found = test.sink.records.filter(({ handler }) => handler === 'Reports.limited');
      return found.length >= 3 && found;
    }, 'three records');
    expect(records.at(-2)!.breaches).toMatchObject([{ dimension: 'loopBlockMs', limit: 200 }]);
    expect(records.at(-1)!.breaches).toEqual([]);
  });

  it('knows how late the loop was', () => {
    const delay = test.app.get(ProcessFigures).eventLoopDelay;
    expect(delay?.maxMs).toBeGreaterThan(1_500);
    expect(delay?.p50Ms).toBeLessThan(delay!.maxMs);
  });
});
