import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CallTrace, type TracedCall } from '../../lib/cost/call-trace';

// The sources import it: what is faked is the global.
vi.mock('node:perf_hooks', async original => ({
  ...(await original<object>()),
  get performance() {
    return globalThis.performance;
  },
}));

let trace: CallTrace;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  trace = new CallTrace();
});
afterEach(() => vi.useRealTimers());

const pass = (ms: number): void => void vi.advanceTimersByTime(ms);
const times = (): Record<string, [total: number, self: number]> =>
  Object.fromEntries(trace.records().map(({ call, totalMs, selfMs }) => [call, [totalMs, selfMs]]));

/** A call of the given name inside another, which lasts some milliseconds. */
function run(name: string, caller: TracedCall | undefined, ms: number): void {
  const call = trace.begin(name, caller);
  pass(ms);
  call.end(false);
}

describe('self time', () => {
  it('is the time less that of calls inside, one after the other', () => {
    const list = trace.begin('list', undefined);
    pass(1);
    run('find', list, 10);
    pass(2);
    run('find', list, 20);
    list.end(false);
    expect(times()).toEqual({ find: [30, 30], list: [33, 3] });
  });

  it('is less the union of calls inside that overlap', () => {
    const list = trace.begin('list', undefined);
    const first = trace.begin('find', list);
    pass(5);
    const second = trace.begin('find', list);
    pass(5);
    first.end(false);
    pass(5);
    second.end(false);
    pass(1);
    list.end(false);
    expect(times()).toEqual({ find: [20, 20], list: [16, 1] });
  });

  it('ends with the call, whatever it left running', () => {
    const list = trace.begin('list', undefined);
    const left = trace.begin('left', list);
    pass(4);
    list.end(false);
    pass(6);
    left.end(false);
    pass(1);
    expect(times()).toEqual({ left: [10, 10], list: [4, 0] });
  });

  it('of the call around is less what an ended call has left to be made', () => {
    const outer = trace.begin('outer', undefined);
    const ended = trace.begin('ended', outer);
    ended.end(false);
    pass(2);
    run('late', ended, 8);
    outer.end(false);
    expect(times()).toEqual({ late: [8, 8], outer: [10, 2], ended: [0, 0] });
  });

  it('of a method that calls itself is counted once, its total for each', () => {
    const outer = trace.begin('walk', undefined);
    pass(1);
    const inner = trace.begin('walk', outer);
    pass(10);
    inner.end(false);
    outer.end(false);
    expect(times()).toEqual({ walk: [21, 11] });
  });

  it('and the total count up to now, and up to the close', () => {
    const outer = trace.begin('outer', undefined);
    pass(3);
    const inner = trace.begin('inner', outer);
    pass(4);
    expect(times()).toEqual({ inner: [4, 4], outer: [7, 3] });
    trace.close(performance.now());
    pass(100);
    inner.end(true);
    outer.end(true);
    expect(times()).toEqual({ inner: [4, 4], outer: [7, 3] });
    expect(trace.records().map(({ errors }) => errors)).toEqual([0, 0]);
  });
});

describe('a call that gives back the promise of one inside', () => {
  it('ends with it, and fails with it', () => {
    const outer = trace.begin('outer', undefined);
    const middle = trace.begin('middle', outer);
    const inner = trace.begin('inner', middle);
    const promise = {};
    inner.pend(promise);
    pass(1);
    middle.giveBack(promise);
    outer.giveBack(promise);
    pass(9);
    inner.end(true);
    pass(5);
    expect(times()).toEqual({ inner: [10, 10], middle: [10, 0], outer: [10, 0] });
    expect(trace.records().map(({ errors }) => errors)).toEqual([1, 1, 1]);
  });

  it('ends at once when it is another promise, or one that has settled', () => {
    const other = trace.begin('other promise', undefined);
    const inner = trace.begin('inner', other);
    inner.pend({});
    other.giveBack({});
    pass(5);
    inner.end(false);
    const late = trace.begin('late', undefined);
    const promise = {};
    const settled = trace.begin('settled', late);
    settled.pend(promise);
    settled.end(false);
    late.giveBack(promise);
    pass(5);
    expect(times()).toMatchObject({ 'other promise': [0, 0], late: [0, 0], inner: [5, 5] });
  });
});
