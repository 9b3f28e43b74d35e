import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { contextStorage, eventLoop } from '../../../lib/context/context-storage';
import type { LoopBlock } from '../../../lib/cost/event-loop';
import { TimeAccount } from '../../../lib/cost/time-account';
import { LoopMonitor, type LoopUser } from '../../../lib/detectors/stalls/loop-monitor';
import { until } from '../../support/platforms';

function userOf(stallMs: number): LoopUser & { readonly blocks: LoopBlock[]; readonly reported: unknown[] } {
  const [blocks, reported]: [LoopBlock[], unknown[]] = [[], []];
  return {
    stallMs,
    blocks,
    reported,
    onBlock: block => blocks.push(block),
    report: reason => reported.push(reason),
  };
}

/** A unit of work that is open. */
const opened = (): TimeAccount =>
  new TimeAccount(eventLoop, { requestId: 'r1', handler: undefined }, performance.now());

function spin(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Uses so many milliseconds of the processor: what others have of it is nobody's block. */
function compute(ms: number): void {
  const before = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(before);
    if (user + system >= ms * 1_000) return;
  }
}

describe('the pulse of the event loop', () => {
  let user: ReturnType<typeof userOf>;
  let monitor: LoopMonitor;
  beforeEach(() => {
    user = userOf(0);
    monitor = new LoopMonitor();
    monitor.start(user);
  });
  afterEach(() => {
    monitor.stop(user);
    expect(user.reported).toEqual([]);
  });

  it('begins with the first unit of work, and measures nothing before', async () => {
    await sleep(100);
    expect(monitor.isAwake).toBe(false);
    expect(monitor.delay).toBeUndefined();

    const account = opened();
    expect(monitor.isAwake).toBe(true);
    await until(() => monitor.delay !== undefined, 'delay');
    account.close(performance.now());
  });

  it('begins at once where work is open already', () => {
    const account = opened();
    monitor.stop(user);
    monitor.start(user);
    expect(monitor.isAwake).toBe(true);
    account.close(performance.now());
  });

  it('goes on while work is open', async () => {
    const account = opened();
    await sleep(1_500);
    expect(monitor.isAwake).toBe(true);
    account.close(performance.now());
  });

  it('goes on while work begins now and then that is over at once', async () => {
    for (let i = 0; i < 8; i += 1) {
      opened().close(performance.now());
      await sleep(200);
      expect(monitor.isAwake).toBe(true);
    }
  });

  it('stops when nothing was open for long, begins again, and keeps what it has measured', async () => {
    opened().close(performance.now());
    spin(120);
    await until(() => !monitor.isAwake, 'end of the pulse');
    const { maxMs } = monitor.delay!;
    expect(maxMs).toBeGreaterThan(100);

    const account = opened();
    expect(monitor.isAwake).toBe(true);
    await sleep(0);
    spin(maxMs + 100);
    await until(() => monitor.delay!.maxMs > maxMs, 'longer delay');
    account.close(performance.now());
  });

  it('is late by little of its own', async () => {
    const account = opened();
    await sleep(300);
    account.close(performance.now());
    // The 10 ms between two pulses are none of it; a busy machine may be late each time.
    expect(monitor.delay!.maxMs).toBeGreaterThanOrEqual(monitor.delay!.p50Ms);
    expect(monitor.delay!.meanMs).toBeGreaterThan(0);
  });

  it('takes what ran while it stood still for no block', async () => {
    opened().close(performance.now());
    await until(() => !monitor.isAwake, 'end of the pulse');
    user.blocks.length = 0;
    // Each is short, and they are one stretch to who has not looked between them.
    for (let i = 0; i < 10; i += 1) {
      spin(20);
      await sleep(1);
    }
    expect(monitor.isAwake).toBe(false);
    const before = eventLoop.blockedMs;
    const account = opened();
    expect(eventLoop.blockedMs).toBe(before);
    account.close(performance.now());
  });

  it('charges the work that has woken it for its block', async () => {
    opened().close(performance.now());
    await until(() => !monitor.isAwake, 'end of the pulse');
    user.blocks.length = 0;
    const account = opened();
    compute(120);
    account.close(performance.now());
    expect(account.blockedMs).toBeGreaterThan(0);
    expect(user.blocks.map(({ culprit }) => culprit?.account)).toEqual([account.number]);
  });

  it('runs in the context of nobody, whoever has woken it', async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen = new Set<unknown>();
    vi.spyOn(eventLoop, 'turns').mockImplementation(() => void seen.add(storage.getStore()));
    const account = storage.run('a request', opened);
    await until(() => seen.size > 0, 'pulse');
    vi.restoreAllMocks();
    account.close(performance.now());
    expect([...seen]).toEqual([undefined]);
    expect(contextStorage.getStore()).toBeUndefined();
  });

  it('ends with its last user, asleep or not, and wakes for nobody', () => {
    const other = userOf(0);
    monitor.start(other);
    monitor.stop(user);
    const account = opened();
    expect(monitor.isAwake).toBe(true);
    monitor.stop(other);
    expect(monitor.isAwake).toBe(false);
    account.close(performance.now());
    opened().close(performance.now());
    expect(monitor.isAwake).toBe(false);
    monitor.start(user);
    monitor.stop(user);
    opened().close(performance.now());
    expect(monitor.isAwake).toBe(false);
  });
});

describe('the thread of the watchdog', () => {
  it('is not made for what ends within a second', async () => {
    const made = vi.fn();
    process.on('worker', made);
    const [user, monitor] = [userOf(200), new LoopMonitor()];
    monitor.start(user);
    opened().close(performance.now());
    monitor.stop(user);
    await sleep(1_500);
    process.off('worker', made);
    expect(made).not.toHaveBeenCalled();
  });

  it('is one for all applications, which looks for the shortest stall of any', async () => {
    const made = vi.fn();
    process.on('worker', made);
    const [users, monitor] = [[userOf(2_000), userOf(200)] as const, new LoopMonitor()];
    for (const user of users) monitor.start(user);
    await until(() => eventLoop.suspendedMs !== undefined, 'watchdog');
    monitor.stop(users[0]);
    await sleep(300);
    expect(made).toHaveBeenCalledTimes(1);
    expect(eventLoop.suspendedMs).toBeDefined();
    monitor.stop(users[1]);
    await monitor.ended;
    process.off('worker', made);
    expect(made.mock.calls[0]![0].threadId).toBe(-1);
    expect(users.flatMap(({ reported }) => reported)).toEqual([]);
  });
});
