import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { eventLoop } from '../../../lib/context/context-storage';
import type { LoopBlock } from '../../../lib/cost/event-loop';
import { LoopMonitor } from '../../../lib/detectors/stalls/loop-monitor';
import { ProcessorTime } from '../../../lib/detectors/stalls/processor-time';
import { reports } from '../../../lib/reporting/reports';
import { StallLog } from '../../../lib/detectors/stalls/stall-log';

/** A block that the watchdog has looked into. */
function blockOf(facts: Partial<LoopBlock> = {}): LoopBlock {
  return {
    endMs: 1_000,
    ms: 300,
    starvedMs: 0,
    knowsStarved: true,
    cpuMs: 300,
    culprit: { account: 1, requestId: 'r1', handler: 'Reports.list' },
    suspects: [],
    sites: [],
    waiting: 0,
    ...facts,
  };
}

/** Each test begins with no window: they are the process's, until its last user leaves. */
const user = {};
let written: string[];
beforeEach(() => {
  reports.use(user, 1_000_000);
  written = [];
  for (const level of ['warn', 'error'] as const) {
    vi.spyOn(Logger.prototype, level).mockImplementation(line => void written.push(String(line)));
  }
});
afterEach(() => {
  reports.leave(user);
  vi.restoreAllMocks();
});

describe('while the application warms up', () => {
  let debugged: string[];
  beforeEach(() => {
    debugged = [];
    vi.useFakeTimers({ toFake: ['performance'] });
    vi.spyOn(Logger.prototype, 'debug').mockImplementation(line => void debugged.push(String(line)));
  });
  afterEach(() => vi.useRealTimers());

  it('a stall is no error, and hides none that comes after', () => {
    const log = new StallLog(200, 10_000);
    vi.advanceTimersByTime(9_999);
    log.write(blockOf());
    expect(written).toEqual([]);
    expect(debugged).toEqual(['Reports.list blocked the event loop for 300 ms, during application warm-up']);
    vi.advanceTimersByTime(1);
    log.write(blockOf());
    expect(written).toEqual([expect.stringMatching(/^Reports\.list blocked the event loop/)]);
  });
});

describe('two applications that a block of the event loop is told to', () => {
  it.each([
    ['stall', blockOf(), /^Reports\.list blocked the event loop/],
    ['pause', blockOf({ ms: 75, starvedMs: 812, culprit: undefined, sites: undefined }), /812 /],
  ])('write one line of a %s, and hold none back', (_name, block, line) => {
    for (const log of [new StallLog(200, 0), new StallLog(200, 0)]) log.write(block);
    reports.leave(user);
    expect(written).toEqual([expect.stringMatching(line)]);
  });

  it('hold back the next one of the same handler, once', () => {
    const logs = [new StallLog(200, 0), new StallLog(200, 0)];
    for (const block of [blockOf(), blockOf()]) for (const log of logs) log.write(block);
    reports.leave(user);
    expect(written).toEqual([
      expect.stringMatching(/^Reports\.list blocked/),
      expect.stringMatching(/^1 report /),
    ]);
  });

  it('say one time that watching it has failed', async () => {
    const users = [1, 2].map(() => ({ stallMs: 0, onBlock: vi.fn(), report: vi.fn() }));
    const monitor = new LoopMonitor();
    for (const one of users) monitor.start(one);
    eventLoop.turns(performance.now());
    vi.spyOn(ProcessorTime.prototype, 'take').mockImplementation(() => {
      throw new Error('no such file');
    });
    await vi.waitFor(() => expect(users[0]!.report).toHaveBeenCalled());
    vi.restoreAllMocks();
    for (const one of users) monitor.stop(one);
    expect(users[1]!.report).not.toHaveBeenCalled();
  });
});

describe('the report of a stall', () => {
  const lineOf = (label: string, facts: Partial<LoopBlock>): string | undefined => {
    written = [];
    new StallLog(200, 0).write(blockOf(facts));
    return new RegExp(`^ {2}${label} +(.*)$`, 'm').exec(written[0] ?? '')?.[1];
  };

  it.each([
    [
      { callee: { name: 'pbkdf2Sync', isBuiltIn: false } },
      /^use pbkdf2\(\) instead of pbkdf2Sync\(\), or call it in a worker thread$/,
    ],
    [
      { callee: { name: 'Object.execFileSync', isBuiltIn: false }, cpuMs: 3 },
      /^use execFile\(\) instead of execFileSync\(\)/,
    ],
    [
      { callee: { name: 'test', isBuiltIn: true } },
      /^rewrite the regular expression .* limit the length of its input$/,
    ],
    [{ cpuMs: 3 }, /^use the asynchronous version of the call, or make it in a worker thread$/],
    [{}, /^split the work .*regular expression.*JSON\.parse\(\)/],
    [{ callee: { name: 'Sync', isBuiltIn: false } }, /^split the work/],
    [{ callee: { name: 'includes', isBuiltIn: true } }, /^split the work/],
    // A method of a package.
    [{ callee: { name: 'search', isBuiltIn: false } }, /^split the work/],
  ])('has a fix for what has blocked it: %j', (facts, fix) => {
    expect(lineOf('fix', { ...facts, culprit: undefined, sites: [] })).toMatch(fix);
  });

  it('says how many others waited, if any did', () => {
    const of = (handler: string, waiting: number) =>
      lineOf('waiting', { culprit: { account: 1, requestId: 'r1', handler }, waiting });
    expect(of('Reports.none', 0)).toBeUndefined();
    expect(of('Reports.one', 1)).toBe('1 other request, job or message');
  });
});
