import { describe, expect, it } from 'vitest';
import { Breaker, type Outcome } from '../../lib/guards/breaker/breaker';
import { readBreaker } from '../../lib/guards/breaker/breaker-options';
import { AsyncContextModule } from 'nestjs-async-context';

const GOOD: Outcome = { failed: false, blockedMs: 0, aborted: false };
const FAILED: Outcome = { failed: true, blockedMs: 0, aborted: false };
const LEFT: Outcome = { failed: false, blockedMs: 0, aborted: true };
const blocks = (blockedMs: number): Outcome => ({ ...GOOD, blockedMs });
const limits = readBreaker({ blockedMs: 1_000, minRequests: 4, windowMs: 10_000, openMs: 1_000 })!;
const open = (random = 0): Breaker => {
  const breaker = new Breaker(limits, () => random);
  expect(breaker.learn(blocks(1_000), 100)).toBe(true);
  return breaker;
};

describe('a breaker', () => {
  it('opens with the millisecond that reaches its limit', () => {
    const breaker = new Breaker(limits);
    expect(breaker.learn(blocks(500), 1)).toBe(false);
    expect(breaker.learn(blocks(499), 2)).toBe(false);
    expect(breaker.cause).toBeUndefined();
    expect(breaker.learn(blocks(1), 3)).toBe(true);
    expect(breaker.cause).toBe('blocked');
  });

  it('opens where others have waited for the connections that it held', () => {
    const breaker = new Breaker(limits);
    expect(breaker.learnWait(9_999, 9_999, 1)).toBe(false);
    expect(breaker.learnWait(1, 20_001, 2)).toBe(false);
    expect(breaker.learn({ failed: true, blockedMs: 0, aborted: false }, 3)).toBe(false);
    expect(breaker.learnWait(0, 20_000, 4)).toBe(true);
    expect(breaker.cause).toBe('connections');
  });

  it('opens at the share of failures, from enough requests on', () => {
    const breaker = new Breaker(limits);
    expect([FAILED, FAILED, FAILED].map(outcome => breaker.learn(outcome, 1))).toEqual([false, false, false]);
    expect(breaker.learn(FAILED, 1)).toBe(true);
    const mixed = new Breaker(limits);
    for (const outcome of [GOOD, GOOD, GOOD, FAILED, FAILED]) expect(mixed.learn(outcome, 1)).toBe(false);
    expect(mixed.learn(FAILED, 1)).toBe(true);
    expect(mixed.cause).toBe('failures');
  });

  it('counts no client that left as a request', () => {
    const breaker = new Breaker(limits);
    for (let i = 0; i < 100; i += 1) expect(breaker.learn(LEFT, 1)).toBe(false);
    expect(breaker.sums.requests).toBe(0);
  });

  it('forgets what lies further back than its window', () => {
    const breaker = new Breaker(limits);
    for (let nowMs = 0; nowMs < 100_000; nowMs += 5_100)
      expect(breaker.learn(blocks(300), nowMs)).toBe(false);
    expect(breaker.learn(blocks(999), 200_000)).toBe(false);
    expect(breaker.sums.blockedMs).toBe(999);
    for (const limit of ['blockedMs', 'connectionsMs', 'failureShare'] as const) {
      const off = new Breaker(readBreaker({ [limit]: 0, minRequests: 1 })!);
      if (limit === 'blockedMs') expect(off.learn(blocks(1e6), 1)).toBe(false);
      if (limit === 'connectionsMs') expect(off.learnWait(1e6, 1e6, 1)).toBe(false);
      if (limit === 'failureShare') expect(off.learn(FAILED, 1)).toBe(false);
    }
  });

  it('refuses until its time is over, and a little longer for some', () => {
    const breaker = open();
    expect(breaker.admit({}, 1_099)).toBe('refused');
    expect(breaker.admit({}, 1_100)).toBe('probe');
    const later = open(0.99);
    expect(later.admit({}, 1_297)).toBe('refused');
    expect(later.leftMs(1_297)).toBeCloseTo(1);
    expect(later.admit({}, 1_298)).toBe('probe');
  });

  it('lets one request try, and closes where it does no harm', () => {
    const breaker = open();
    const probe = {};
    expect(breaker.admit(probe, 1_100)).toBe('probe');
    expect(breaker.admit({}, 1_100)).toBe('refused');
    expect(breaker.judge(probe, GOOD, 1_200)).toBe(true);
    expect(breaker.cause).toBeUndefined();
    expect(breaker.sums.blockedMs).toBe(0);
  });

  it('stays open where what tries fails, or is given back without a verdict where its client left', () => {
    const breaker = open();
    const probe = {};
    breaker.admit(probe, 1_100);
    expect(breaker.judge(probe, FAILED, 1_200)).toBe(false);
    expect(breaker.admit({}, 2_199)).toBe('refused');
    const second = {};
    expect(breaker.admit(second, 2_200)).toBe('probe');
    expect(breaker.judge(second, LEFT, 2_210)).toBe(false);
    const third = {};
    expect(breaker.admit(third, 2_210)).toBe('probe');
    // It never ends: another one may try, and the first to end well closes it.
    breaker.giveBack(third);
    const fourth = {};
    expect(breaker.admit(fourth, 3_000)).toBe('probe');
    expect(breaker.judge(third, GOOD, 3_100)).toBe(true);
    expect(breaker.judge(fourth, FAILED, 3_200)).toBe(false);
    expect(breaker.cause).toBeUndefined();
  });

  it('asks whether all that come would block too much, not one of them alone', () => {
    const rare = open();
    const probe = {};
    rare.admit(probe, 20_000);
    expect(rare.judge(probe, blocks(200), 20_300)).toBe(true);
    const busy = open();
    for (let i = 0; i < 100; i += 1) busy.admit({}, 200);
    const other = {};
    busy.admit(other, 1_100);
    expect(busy.judge(other, blocks(60), 1_200)).toBe(false);
    expect(busy.cause).toBe('blocked');
  });

  it('asks whether all that come would hold half of a pool, where waits for connections opened it', () => {
    const probed = (arrivals: number, wholePoolMs: number): boolean => {
      const breaker = new Breaker(limits, () => 0);
      expect(breaker.learnWait(10_000, 10_000, 100)).toBe(true);
      for (let i = 1; i < arrivals; i += 1) breaker.admit({}, 200);
      const probe = {};
      expect(breaker.admit(probe, 1_100)).toBe('probe');
      return breaker.judge(probe, { ...GOOD, wholePoolMs }, 1_200);
    };
    // 100 in 10 s, each for 50 ms of the whole pool, is half of it all the time.
    expect(probed(100, 49)).toBe(true);
    expect(probed(100, 50)).toBe(false);
    expect(probed(50, 99)).toBe(true);
    expect(probed(50, 100)).toBe(false);
    const blocked = open();
    for (let i = 0; i < 100; i += 1) blocked.admit({}, 200);
    const probe = {};
    blocked.admit(probe, 1_100);
    expect(blocked.judge(probe, { ...GOOD, wholePoolMs: 1_000 }, 1_200)).toBe(true);
  });

  it('says at the start what it cannot take', () => {
    const start = (breaker: unknown) => () =>
      AsyncContextModule.forRoot({ guards: { breaker: breaker as never } });
    expect(start(true)).toThrow('AsyncContextModule.forRoot({ guards.breaker }) is true.');
    expect(start({ openMs: 0 })).toThrow('({ guards.breaker.openMs }) is 0. Use a whole number from 1');
    expect(start({ failureShare: 2 })).toThrow('({ guards.breaker.failureShare }) is 2.');
    expect(start({ dryRun: 'no' })).toThrow('({ guards.breaker.dryRun }) is "no". Use true or false.');
    expect(start({ blocked: 1 })).toThrow('There is no such option');
    expect(start(false)).not.toThrow();
  });
});
