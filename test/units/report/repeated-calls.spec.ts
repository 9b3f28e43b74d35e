import { Controller, Get, Param } from '@nestjs/common';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { QueryBudget } from 'nestjs-async-context';
import { CostLedger } from '../../../lib/cost/cost-ledger';
import { GrowthHistory } from '../../../lib/cost/growth-history';
import { fixOfSlowCalls } from '../../../lib/units/report/fix-of-calls';
import { platforms, startApp, type TestApp } from '../../support/platforms';

let server: Server;
let test: TestApp | undefined;

@Controller()
class QuotesController {
  @Get('quotes/:count')
  @QueryBudget({ http: 3 })
  async quotes(@Param('count') count: string): Promise<void> {
    const { port } = server.address() as AddressInfo;
    for (let i = 0; i < Number(count); i += 1) await (await fetch(`http://127.0.0.1:${port}/${i}`)).text();
  }
}

beforeAll(async () => {
  server = createServer((_request, response) => response.end('4.50'));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => server.close());
afterEach(() => test?.close());

describe.each(platforms)('calls in a loop on %s', platform => {
  it.each([
    [4, /^ {2}http 4 \(\S+ 4\), [\d.]+ ms, one after another$/m],
    [5, /^ {2}http 5 \(\S+ 5\), [\d.]+ ms, one after another {4}repeated-calls\.spec\.ts:\d+ quotes$/m],
  ])('have a line from the fifth on: %i', async (count, line) => {
    test = await startApp({ platform, controllers: [QuotesController], slowAfterMs: 0, stallMs: 0 });
    await (await fetch(`${test.url}/quotes/${count}`)).text();
    await test.records(1);
    const [report = ''] = test.logs.of('error', 'QueryBudget');
    expect(report).toMatch(line);
    expect(report).toMatch(/\n {2}fix +call the other service once for all items/);
  });
});

describe('the stack of a call that repeats', () => {
  const here = (): void => undefined;
  const stackOf = (history: GrowthHistory | undefined, calls: number): unknown => {
    const ledger = new CostLedger();
    ledger.history = history;
    for (let i = 0; i < calls; i += 1) ledger.beginCall('http', 'a', here)?.end();
    return ledger.calls!.get('http')!.targets.get('a')!.stack;
  };

  it('is captured at the fifth call to one target', () => {
    expect([stackOf(undefined, 4), stackOf(undefined, 5)]).toEqual([undefined, expect.anything()]);
    const ledger = new CostLedger();
    for (let i = 0; i < 8; i += 1) ledger.beginCall('http', i < 4 ? 'a' : 'b', here)?.end();
    for (const target of ledger.calls!.get('http')!.targets.values()) expect(target.stack).toBeUndefined();
  });

  it('is that of a target whose name is too long to be kept', () => {
    const ledger = new CostLedger();
    for (let i = 0; i < 5; i += 1) ledger.beginCall('http', 'a'.repeat(200), here)?.end();
    const [[name, { stack }] = ['', { stack: undefined }]] = ledger.calls!.get('http')!.targets;
    expect([name.length, stack]).toEqual([100, expect.anything()]);
  });

  it('is captured less and less often for one handler', () => {
    const history = new GrowthHistory();
    const looks = Array.from({ length: 11 }, () => stackOf(history, 9) !== undefined);
    expect(looks.filter(Boolean)).toHaveLength(4);
  });
});

it.each([
  [1, /: they ran one after another$/],
  [2, /: they ran mostly one after another$/],
])('calls of which %i ran at once are told how they ran', (maxConcurrent, fix) => {
  const calls = {
    count: 3,
    errors: 0,
    durationMs: 105,
    busyMs: 100,
    bytes: 0,
    maxConcurrent,
    late: 0,
    byTarget: {},
  };
  expect(fixOfSlowCalls('http', calls)).toMatch(fix);
  expect(fixOfSlowCalls('cache', calls)).toMatch(fix);
});
