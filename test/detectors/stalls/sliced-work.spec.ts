import { Controller, Get, Param } from '@nestjs/common';
import { pbkdf2Sync } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { CostRecord } from 'nestjs-async-context';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { platforms, startApp, type TestApp } from '../../support/platforms';

/** Milliseconds of the processor since then: how busy the machine is does not matter. */
function usedSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

function spin(ms: number): void {
  const before = process.cpuUsage();
  while (usedSince(before) < ms);
}

const NUMBERS = JSON.stringify(Array.from({ length: 3_000_000 }, (_, i) => i));

/** Work of one request; the event loop turns in the middle of the first three. */
const WORK: Readonly<Record<string, () => unknown>> = {
  'slices of 100 ms, as of bcryptjs': async () => {
    for (let i = 0; i < 6; i += 1) {
      await turn();
      spin(100);
    }
  },
  'a loop with short parts': async () => {
    for (let i = 0; i < 60; i += 1) {
      await turn();
      spin(8);
    }
  },
  'a generator on a timer': async () => {
    function* parts(): Generator<void> {
      for (let i = 0; i < 6; i += 1) {
        spin(80);
        yield;
      }
    }
    for (const _part of parts()) await new Promise(resolve => setTimeout(resolve, 1));
  },
  'a synchronous hash': () => pbkdf2Sync('secret', 'salt', 300_000, 64, 'sha512').length,
  'the parsing of a large text': () => {
    for (let i = 0; i < 3; i += 1) JSON.parse(NUMBERS);
  },
};
const NAMES = Object.keys(WORK);

/** What the work has used of the processor, in milliseconds. */
let used = 0;
let letGo: () => void;
let waited: Promise<void>;

@Controller()
class SlicedController {
  @Get('task/:index')
  async work(@Param('index') index: string): Promise<string> {
    const before = process.cpuUsage();
    await WORK[NAMES[Number(index)] as string]?.();
    used = usedSince(before);
    return 'done';
  }

  @Get('wait')
  async wait(): Promise<string> {
    await waited;
    return 'done';
  }
}

describe.each(platforms)('work in slices on %s', platform => {
  let test: TestApp;
  beforeAll(async () => {
    test = await startApp({ platform, controllers: [SlicedController], slowAfterMs: 0 });
  });
  afterAll(() => test.close());

  async function run(name: string, others: number): Promise<{ own: CostRecord; rest: CostRecord[] }> {
    const before = test.sink.records.length;
    waited = new Promise(resolve => (letGo = resolve));
    const waiting = Array.from({ length: others }, () => fetch(`${test.url}/wait`));
    // Until they wait: a first request to an unknown address is answered after those that came before it.
    await Promise.all(Array.from({ length: 3 }, () => fetch(`${test.url}/nowhere`)));
    await fetch(`${test.url}/task/${NAMES.indexOf(name)}`);
    letGo();
    await Promise.all(waiting);
    const records = (await test.records(before + others + 4)).slice(before);
    const own = records.find(({ route }) => route === 'GET /task/:index') as CostRecord;
    return { own, rest: records.filter(({ route }) => route === 'GET /wait') };
  }

  it.each(NAMES)('is its own where nothing else is open: %s', async name => {
    const { own } = await run(name, 0);
    const { ownMs, stalledMs, unknownMs, starvedMs } = own.time;
    expect(stalledMs + unknownMs).toBeLessThan(0.1 * used);
    // What other threads of the process have used, such as its compilers, is in `used` as well.
    expect(ownMs).toBeGreaterThan(0.7 * Math.min(used, own.durationMs - starvedMs));
  });

  it.each(NAMES)('is its own where others wait: %s', async name => {
    const { own, rest } = await run(name, 20);
    const { ownMs, stalledMs } = own.time;
    expect(stalledMs).toBeLessThan(0.1 * used);
    // Whose the first slice was is not seen.
    expect(ownMs).toBeGreaterThan(0.6 * used);
    // One of them may meet the garbage collector.
    expect(rest.filter(({ time }) => time.ownMs > 0.2 * ownMs).length).toBeLessThan(2);
  });
});
