import { Controller, Get, Logger } from '@nestjs/common';
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContextService, type CostRecord, QueryBudget } from 'nestjs-async-context';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { describeStatement } from '../../lib/sql/describe-statement';
import { LostContexts } from '../../lib/detectors/lost-contexts/lost-contexts';
import { reports as ofProcess, type ReportKind, Reports } from '../../lib/reporting/reports';
import { platforms, startApp, type TestApp } from '../support/platforms';

const MINUTE_MS = 60_000;
const SLOW: ReportKind = { name: 'slow requests', isError: false };
const LATE: ReportKind = { name: 'late calls', one: 'late call', isError: false };
const BREACHES: ReportKind = { name: 'breaches', isError: true };
const STALLS: ReportKind = { name: 'stalls of the event loop', isError: true };
const LOST: ReportKind = { name: 'unhandled errors', isError: true };

describe('reports', () => {
  let reports: Reports;
  let said: string[];
  const user = {};
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout', 'Date'] });
    said = [];
    vi.spyOn(Logger.prototype, 'warn').mockImplementation(message => void said.push(String(message)));
    reports = new Reports();
    reports.use(user, 60);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  /** Of so many subjects, how many are written. */
  const admitted = (kind: ReportKind, subjects: number, first = 0): number =>
    Array.from({ length: subjects }, (_, i) => reports.admit(kind, `${first + i}`)).filter(
      suppressed => suppressed !== undefined,
    ).length;

  it('are bounded over 1,500 subjects that come again and again, and none is lost count of', () => {
    let written = 0;
    for (let round = 0; round < 3; round += 1) written += admitted(BREACHES, 1_500);
    expect(written).toBe(30);
    reports.leave(user);
    expect(said).toEqual(['4,470 reports suppressed in the last minute: 4,470 breaches (3 of them 30)']);
  });

  it('of all kinds together are at most as many as allowed, whatever comes first', () => {
    for (const kind of [BREACHES, STALLS, LOST]) admitted(kind, 100);
    for (let kind = 0; kind < 37; kind += 1) admitted({ name: `warning ${kind}`, isError: false }, 100);
    reports.leave(user);
    const [, heldBack] = /^([\d,]+) reports/.exec(said[0]!)!;
    expect(4_000 - Number(heldBack!.replace(',', ''))).toBeLessThanOrEqual(60);
  });

  it('that are warnings leave half of it to errors', () => {
    for (let kind = 0; kind < 100; kind += 1) admitted({ name: `warning ${kind}`, isError: false }, 1_000);
    expect(admitted(BREACHES, 15)).toBe(15);
  });

  it('that are the first error of their kind in a minute are written, however low the bound is', () => {
    const lowest = {};
    reports.use(lowest, 2);
    reports.leave(user);
    for (let minute = 0; minute < 3; minute += 1) {
      expect([SLOW, BREACHES, STALLS, LOST, LATE].map(kind => admitted(kind, 100))).toEqual([1, 1, 1, 1, 0]);
      vi.advanceTimersByTime(MINUTE_MS);
    }
  });

  it('of one kind leave room to each other kind', () => {
    expect(admitted(SLOW, 1_000)).toBe(15);
    expect(admitted(LATE, 1_000)).toBe(8);
    expect(admitted({ name: 'waits for a connection', isError: false }, 1_000)).toBe(4);
  });

  it('of what was said before leave room to what was not', () => {
    const before = admitted(BREACHES, 30);
    vi.advanceTimersByTime(MINUTE_MS);
    expect(before).toBe(30);
    expect(admitted(BREACHES, 30)).toBe(20);
    expect(admitted(BREACHES, 10, 30)).toBe(10);
  });

  it('come again when their window is over, and count what was held back', () => {
    expect(reports.admit(SLOW, 'one')).toBe(0);
    expect(reports.admit(SLOW, 'one')).toBeUndefined();
    vi.advanceTimersByTime(MINUTE_MS - 1);
    expect(reports.admit(SLOW, 'one')).toBeUndefined();
    vi.advanceTimersByTime(1);
    expect(reports.admit(SLOW, 'one')).toBe(2);
  });

  it('are neither let through nor kept back by a clock that is set', () => {
    reports.admit(SLOW, 'one');
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(reports.admit(SLOW, 'one')).toBeUndefined();
    vi.setSystemTime(Date.now() - 7_200_000);
    vi.advanceTimersByTime(MINUTE_MS);
    expect(reports.admit(SLOW, 'one')).toBe(1);
  });

  it('go on when fake timers have turned back even the monotonic clock', () => {
    vi.advanceTimersByTime(MINUTE_MS * 10);
    reports.admit(SLOW, 'one');
    vi.useRealTimers();
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
    expect(reports.admit(SLOW, 'one')).toBe(0);
    expect(reports.admit(SLOW, 'one')).toBeUndefined();
  });

  it('of more subjects than are kept are held back and counted, and have their turn a minute later', () => {
    admitted(SLOW, 1_000);
    expect(reports.admit(SLOW, 'one more')).toBeUndefined();
    vi.advanceTimersByTime(MINUTE_MS);
    expect(said).toEqual([expect.stringContaining('986 reports suppressed')]);
    expect(reports.admit(SLOW, 'one more')).toBe(0);
  });

  it('that are held back are said in one line a minute, with the worst', () => {
    for (const ms of [1_200, 3_400, 2_000]) reports.admit(SLOW, 'Orders.list, database', ms);
    for (let i = 0; i < 2; i += 1) reports.admit(SLOW, 'Orders.find, http', 9_000);
    for (let i = 0; i < 2; i += 1) reports.admit(LATE, 'Orders.create');
    vi.advanceTimersByTime(MINUTE_MS - 1);
    expect(said).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(said).toEqual([
      '4 reports suppressed in the last minute: ' +
        '3 slow requests (2 of them Orders.list, database, up to 3,400 ms); 1 late call (Orders.create)',
    ]);
    vi.advanceTimersByTime(MINUTE_MS * 5);
    expect(said).toHaveLength(1);
  });

  it('have one bound for all applications, and end with the last', () => {
    const other = {};
    reports.use(other, 2);
    expect(admitted(BREACHES, 100)).toBe(30);
    reports.leave(user);
    expect(said).toEqual([]);
    vi.advanceTimersByTime(MINUTE_MS);
    expect(said).toHaveLength(1);
    expect(admitted(BREACHES, 100, 200)).toBe(1);
    reports.leave(other);
    expect(said).toHaveLength(2);
    expect(reports.admit(BREACHES, '0')).toBe(0);
  });
});

describe('the line of what was held back', () => {
  afterEach(() => vi.restoreAllMocks());

  it('keeps no process, and belongs to no request that had a report held back', async () => {
    const storage = new AsyncLocalStorage<string>();
    const stores: unknown[] = [];
    vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => void stores.push(storage.getStore()));
    const reports = new Reports();
    const user = {};
    reports.use(user, 60);
    const before = process.getActiveResourcesInfo().filter(type => type === 'Timeout').length;
    storage.run('request', () => {
      reports.admit(SLOW, 'one');
      reports.admit(SLOW, 'one');
    });
    expect(process.getActiveResourcesInfo().filter(type => type === 'Timeout')).toHaveLength(before);
    storage.run('request', () => reports.leave(user));
    expect(stores).toEqual([undefined]);
  });

  it('counts lost queries whose stack was not taken', () => {
    const said: string[] = [];
    vi.spyOn(Logger.prototype, 'warn').mockImplementation(message => void said.push(String(message)));
    const lost = new LostContexts();
    const user = {};
    ofProcess.use(user, 60);
    lost.use(user, { log: true, ignore: [] });
    const statement = describeStatement('SELECT 1', 'postgresql');
    for (let i = 0; i < 200; i += 1) lost.report(statement, () => undefined);
    lost.leave(user);
    ofProcess.leave(user);

    expect(lost.count).toBe(200);
    expect(said).toEqual([expect.stringContaining('200 queries ran outside of any request, job or message')]);
  });
});

@Controller()
class Outage {
  constructor(private readonly context: ContextService) {}

  @Get('slow')
  async slow() {
    await sleep(10);
    return 'slow';
  }

  @Get('spends')
  @QueryBudget(0)
  spends() {
    this.context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 });
    return 'spent';
  }

  @Get('jobs')
  jobs() {
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 1_500; i += 1) {
        this.context.run({ handler: `job-${i}` }, () =>
          this.context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 }),
        );
      }
    }
    return 'done';
  }
}

describe.each(platforms)('an outage on %s', platform => {
  let test: TestApp;
  afterEach(() => test.close());

  const heldBack = (): Record<string, unknown> =>
    test.logs.lines.find(({ context }) => context === 'Reports')!.fields!;
  async function send(path: string, times: number): Promise<readonly CostRecord[]> {
    const known = test.sink.records.length;
    const clients = Array.from({ length: 10 }, async () => {
      for (let i = 0; i < times / 10; i += 1) await (await fetch(test.url + path)).text();
    });
    await Promise.all(clients);
    return (await test.records(known + times)).slice(known);
  }

  it('of 200 slow requests is one block, and one line that counts the others', async () => {
    test = await startApp({ platform, controllers: [Outage], slowAfterMs: 1 });
    const records = await send('/slow', 200);
    expect(records.filter(({ slow }) => slow !== undefined)).toHaveLength(200);
    await test.app.close();

    const blocks = test.logs.of('warn', 'SlowRequest');
    // Another cause is another subject: a busy machine makes some of them wait for others.
    const causes = new Set(records.map(({ slow }) => slow!.because)).size;
    expect(blocks).toHaveLength(causes);
    expect(test.logs.of('warn', 'Reports')).toHaveLength(1);
    expect(heldBack()).toMatchObject({ 'held1.kind': 'slow requests', 'held1.count': 200 - causes });
    expect(heldBack()['held1.subject']).toMatch(/^Outage\.slow, /);
    expect(heldBack()['held1.mostMs']).toBeGreaterThan(5);
  });

  it('does not keep back the first breach', async () => {
    test = await startApp({ platform, controllers: [Outage], slowAfterMs: 1, reportsPerMinute: 2 });
    await send('/slow', 50);
    await send('/spends', 10);

    expect(test.logs.of('warn', 'SlowRequest').length).toBeLessThanOrEqual(1);
    expect(test.logs.of('error', 'QueryBudget')).toHaveLength(1);
  });

  it('of 4,500 breaches of 1,500 names is 30 blocks, and one line that counts the others', async () => {
    test = await startApp({ platform, controllers: [Outage], budget: { queries: 0 }, stallMs: 0 });
    await (await fetch(`${test.url}/jobs`)).text();
    await test.app.close();

    expect(test.logs.of('error', 'QueryBudget')).toHaveLength(30);
    expect(heldBack()).toMatchObject({ 'held1.kind': 'breaches', 'held1.count': 4_470 });
  });
});
