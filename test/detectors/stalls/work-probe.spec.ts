import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventLoop } from '../../../lib/cost/event-loop';
import { WorkProbe } from '../../../lib/detectors/stalls/work-probe';

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

describe('the probe of work that nobody is seen at', () => {
  let loop: EventLoop;
  let entered: number;
  let probe: WorkProbe;
  beforeEach(() => {
    loop = new EventLoop(() => undefined);
    entered = 0;
    const { enters } = loop;
    loop.enters = nowMs => {
      entered += 1;
      enters.call(loop, nowMs);
    };
    probe = new WorkProbe(loop);
  });
  afterEach(() => probe.stop());

  /** How many callbacks it looks at of so many. */
  async function looksOf(callbacks: number): Promise<number> {
    const before = entered;
    for (let i = 0; i < callbacks; i += 1) await turn();
    return entered - before;
  }

  it('looks at each callback for 250 ms, and then not for ten seconds, where it sees nothing', async () => {
    expect(await looksOf(3)).toBe(0);
    probe.seek(1_000);
    probe.check(1_249);
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
    probe.check(1_250);
    expect(await looksOf(3)).toBe(0);
    probe.seek(11_249);
    expect(await looksOf(3)).toBe(0);
    probe.seek(11_250);
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
  });

  it('follows what it has seen for a second, and looks again at once', async () => {
    probe.seek(1_000);
    probe.found(1_200);
    probe.check(2_199);
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
    probe.check(2_200);
    expect(await looksOf(3)).toBe(0);
    probe.seek(2_201);
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
  });

  it('leaves a process alone that makes more than ten callbacks a millisecond', async () => {
    probe.seek(1_000);
    const few = await looksOf(200);
    probe.found(1_010);
    // As if they had taken so long.
    probe.check(1_000 + Math.max(250, few / 10));
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
    probe.stop();

    probe.seek(20_000);
    expect(await looksOf(3_000)).toBeGreaterThan(2_500);
    probe.found(20_240);
    // A burst is soon over.
    probe.check(20_249);
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
    probe.check(20_250);
    expect(await looksOf(3)).toBe(0);
    probe.seek(30_249);
    expect(await looksOf(3)).toBe(0);
    probe.seek(30_250);
    expect(await looksOf(3)).toBeGreaterThanOrEqual(3);
  });

  it('survives a look that fails', async () => {
    loop.enters = () => {
      throw new Error('no');
    };
    probe.seek(1_000);
    expect(await looksOf(3)).toBe(0);
  });
});
