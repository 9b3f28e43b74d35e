import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EventLoop, type SpentProcessor } from '../../lib/cost/event-loop';
import { DATABASE, TimeAccount } from '../../lib/cost/time-account';

// The sources import it: what is faked is the global.
vi.mock('node:perf_hooks', async original => ({
  ...(await original<object>()),
  get performance() {
    return globalThis.performance;
  },
}));

/** A clock of its own: what the machine does meanwhile changes nothing. */
let clockMs: number;
let idleMs: number;
function burn(ms: number): void {
  clockMs += ms;
}
/** The loop has nothing to do. */
function idle(ms: number): void {
  clockMs += ms;
  idleMs += ms;
}

function partsOf(account: TimeAccount): Record<string, number> {
  return {
    own: account.ownMs,
    stalled: account.stalledMs,
    starved: account.starvedMs,
    other: account.otherMs,
    database: account.waitedMs('database'),
    blocked: account.blockedMs,
  };
}

describe('the accounts of units of work', () => {
  let loop: EventLoop;
  let units: number;
  beforeEach(() => {
    clockMs = 1_000;
    idleMs = 0;
    vi.stubGlobal('performance', {
      now: () => clockMs,
      nodeTiming: {
        get idleTime() {
          return idleMs;
        },
      },
    });
    loop = new EventLoop(() => undefined);
    units = 0;
    idle(5);
    loop.turns(performance.now());
  });
  afterEach(() => vi.unstubAllGlobals());

  const open = (): TimeAccount =>
    new TimeAccount(loop, { requestId: `r${(units += 1)}`, handler: undefined }, performance.now());
  const begin = (account: TimeAccount): void => account.begin(DATABASE, performance.now());
  const end = (account: TimeAccount): void => account.end(DATABASE, performance.now());
  const close = (...accounts: TimeAccount[]): void =>
    accounts.forEach(account => account.close(performance.now()));

  it.each([8, 80])(
    'charges nothing of the %d ms that ran before it opened to the only one that is open',
    ms => {
      burn(ms);
      const account = open();
      burn(1);
      close(account);
      expect(partsOf(account)).toEqual({ own: 1, stalled: 0, starved: 0, other: 0, database: 0, blocked: 0 });
    },
  );

  it('is not idle before a block because of what was idle in a short stretch earlier', () => {
    const account = open();
    const other = open();
    loop.turns(performance.now());
    idle(0.01);
    begin(account);
    const startMs = performance.now();
    burn(300);
    // As a driver that works synchronously does: the query itself is what blocks.
    expect(loop.deafMs(account.number, startMs, performance.now())).toBe(0);
    end(account);
    close(account, other);
  });

  it('charges a block to the unit of work that was seen before and after it', () => {
    const other = open();
    begin(other);
    const account = open();
    burn(100);
    close(account);
    end(other);
    close(other);

    expect(partsOf(account)).toEqual({
      own: 100,
      stalled: 0,
      starved: 0,
      other: 0,
      database: 0,
      blocked: 100,
    });
    expect(partsOf(other)).toEqual({ own: 0, stalled: 100, starved: 0, other: 0, database: 0, blocked: 0 });
  });

  it('blames neither of two that were answered at once', () => {
    const [first, second] = [open(), open()];
    begin(first);
    begin(second);
    idle(20);
    loop.turns(performance.now());
    idle(5);
    end(first);
    end(second);
    burn(100);
    begin(first);
    end(first);
    close(first, second);

    expect(partsOf(first)).toMatchObject({ stalled: 0, blocked: 0 });
    expect(partsOf(second)).toMatchObject({ own: 0, stalled: 0, blocked: 0 });
  });

  it('does not call its own work after a call a stall by others', () => {
    const account = open();
    begin(account);
    burn(100);
    loop.turns(performance.now());
    end(account);
    close(account);

    expect(partsOf(account)).toMatchObject({ stalled: 0, blocked: 0 });
  });

  it('blames nobody for 300 ms that nobody was seen at', () => {
    const waiting = open();
    const account = open();
    idle(20);
    burn(300);
    close(account);
    close(waiting);

    expect(partsOf(account)).toMatchObject({ own: 0, stalled: 0, other: 320, blocked: 0 });
    expect(loop.blocksSince(0)[0]).toMatchObject({ culprit: undefined, suspects: [account.number] });
  });

  it('takes what runs for that of the one that is open, and blames it for nothing', () => {
    const account = open();
    idle(20);
    loop.turns(performance.now());
    burn(300);
    loop.turns(performance.now());
    burn(7);
    loop.turns(performance.now());
    burn(4.9);
    loop.turns(performance.now());
    close(account);

    expect(partsOf(account)).toMatchObject({ own: 307, stalled: 0, blocked: 0 });
    expect(account.otherMs).toBeCloseTo(24.9);
  });

  describe('where several are open and nobody is seen', () => {
    let asked: number;
    beforeEach(() => {
      asked = 0;
      loop.onUnknown = () => void (asked += 1);
    });

    it('know of a block that it is unknown whose it was, and ask', () => {
      const [first, second] = [open(), open()];
      idle(20);
      loop.turns(performance.now());
      burn(100);
      loop.turns(performance.now());
      close(first, second);

      expect(first).toMatchObject({ ownMs: 0, stalledMs: 0, unknownMs: 100, otherMs: 20 });
      expect(second).toMatchObject({ ownMs: 0, stalledMs: 0, unknownMs: 100, otherMs: 20 });
      expect(asked).toBe(1);
    });

    it.each([
      [5, 9, 0],
      [5, 10, 1],
      [4.99, 100, 0],
    ])('ask for slices of %d ms after %d of them: %d', (ms, slices, times) => {
      const accounts = [open(), open()];
      idle(20);
      for (let i = 0; i < slices; i += 1) {
        loop.turns(performance.now());
        burn(ms);
      }
      loop.turns(performance.now());
      expect(asked).toBe(times);
      close(...accounts);
    });

    it('charge what is seen while each callback is looked at', () => {
      let inForce: TimeAccount | undefined;
      loop = new EventLoop(() => inForce);
      loop.turns(performance.now());
      const [first, second] = [open(), open()];
      idle(20);
      inForce = first;
      loop.enters(performance.now());
      burn(100);
      inForce = undefined;
      loop.enters(performance.now());
      burn(60);
      loop.leaves();
      loop.turns(performance.now());
      close(first, second);

      expect(first).toMatchObject({ ownMs: 100, blockedMs: 100 });
      expect(second).toMatchObject({ ownMs: 0, blockedMs: 0 });
      expect(second.stalledMs + second.unknownMs).toBe(160);
    });
  });

  it('infers up to 250 ms whose own work it was', () => {
    const account = open();
    idle(20);
    burn(150);
    close(account);

    expect(partsOf(account)).toMatchObject({ own: 150, stalled: 0, blocked: 0 });
  });

  it('adds up when a query is recorded, and when one gets its connection, in the middle of work', () => {
    const recorded = open();
    burn(100);
    recorded.record(40, performance.now());
    close(recorded);
    expect(partsOf(recorded)).toMatchObject({ own: 100, database: 0, other: 0 });

    const queued = open();
    begin(queued);
    begin(queued);
    queued.change(0, 1, performance.now());
    end(queued);
    burn(100);
    queued.change(1, 0, performance.now());
    end(queued);
    close(queued);
    const { own, stalled, other, database } = partsOf(queued) as Record<string, number>;
    expect(own! + stalled! + other! + database! + queued.waitedMs('pool')).toBe(100);
  });

  describe('of a stretch in which other processes had the processor', () => {
    const spend = (spent: SpentProcessor): void => void (loop.takeSpent = () => spent);

    it('charge what ran with the rest', () => {
      const waiting = open();
      begin(waiting);
      const account = open();
      burn(500);
      spend({ cpuMs: 100, waitedMs: 400 });
      close(account);
      end(waiting);
      close(waiting);

      expect(partsOf(account)).toMatchObject({ own: 100, blocked: 100, starved: 400, other: 0 });
      expect(partsOf(waiting)).toMatchObject({ stalled: 100, starved: 400, database: 0 });
      expect(loop.blocksSince(0)).toMatchObject([
        { ms: 100, starvedMs: 400, cpuMs: 100, knowsStarved: true, culprit: { requestId: 'r2' } },
      ]);
    });

    it('blame nobody who has computed nothing', () => {
      const blocks: unknown[] = [];
      loop.onBlock = block => void blocks.push(block);
      const account = open();
      burn(887);
      spend({ cpuMs: 5, waitedMs: 882 });
      close(account);

      expect(partsOf(account)).toMatchObject({ own: 5, blocked: 0, starved: 882 });
      expect(loop.blocksSince(0)).toEqual([]);
      expect(blocks).toMatchObject([{ ms: 5, starvedMs: 882, culprit: undefined, sites: undefined }]);
    });

    it('charge a part of work in slices to the only one that is open', () => {
      const account = open();
      burn(1);
      begin(account);
      end(account);
      loop.turns(performance.now());
      // A slice of 100 ms by the clock, of which it had the processor for 40.
      burn(100);
      spend({ cpuMs: 40, waitedMs: 60 });
      loop.turns(performance.now());
      close(account);

      expect(partsOf(account)).toMatchObject({ own: 41, blocked: 0, starved: 60, other: 0 });
    });

    it('look whose a part of work in slices is, where several are open', () => {
      const looks: number[] = [];
      loop.onUnknown = nowMs => void looks.push(nowMs);
      const [first, second] = [open(), open()];
      loop.turns(performance.now());
      for (let slice = 0; slice < 2; slice += 1) {
        burn(100);
        spend({ cpuMs: 40, waitedMs: 60 });
        loop.turns(performance.now());
      }
      close(first, second);

      expect(looks).toEqual([clockMs]);
      expect([first, second].map(({ ownMs }) => ownMs)).toEqual([0, 0]);
    });

    it('blame who waits synchronously', () => {
      const account = open();
      burn(600);
      spend({ cpuMs: 1, waitedMs: 0 });
      close(account);

      expect(partsOf(account)).toMatchObject({ own: 600, blocked: 600, starved: 0 });
      expect(loop.blocksSince(0)).toMatchObject([{ ms: 600, cpuMs: 1, starvedMs: 0, knowsStarved: true }]);
    });

    it('say that it is not known where nobody knows', () => {
      const account = open();
      burn(600);
      spend({ cpuMs: 1, waitedMs: undefined });
      close(account);

      expect(loop.blocksSince(0)).toMatchObject([{ ms: 600, cpuMs: 1, starvedMs: 0, knowsStarved: false }]);
    });

    it('count a suspension and what others had of the processor once', () => {
      const account = open();
      burn(1_000);
      // The watchdog was starved as well, and takes it for a suspension.
      loop.suspendedMs = () => 900;
      spend({ cpuMs: 300, waitedMs: 700 });
      close(account);

      expect(partsOf(account)).toMatchObject({ own: 300, blocked: 300 });
    });

    it('never take from a handler what it has computed', () => {
      const account = open();
      burn(200);
      // Of the time before the stretch.
      spend({ cpuMs: 210, waitedMs: 100 });
      close(account);

      expect(partsOf(account)).toMatchObject({ own: 200, blocked: 200, starved: 0 });
    });

    it('remember no handler that was looked at as one that blocks', () => {
      const account = open();
      burn(300);
      loop.capture(loop.shared[0]!);
      spend({ cpuMs: 2, waitedMs: 298 });
      close(account);
      expect(loop.blocksSince(0)).toEqual([]);
    });
  });

  describe('of which part an answer could not be read', () => {
    it('is that in which others blocked the loop, as far as it lies within', () => {
      const asked = open();
      begin(asked);
      const other = open();
      burn(60);
      const sinceMs = performance.now();
      burn(40);
      close(other);
      idle(7);
      expect(asked.deafMs(sinceMs, performance.now())).toBe(40);
      expect(asked.deafMs(0, performance.now())).toBe(100);
      expect(other.deafMs(0, performance.now())).toBe(0);
      end(asked);
      close(asked);
    });

    it('is none of what its own query blocked, as that of a synchronous driver does', () => {
      const account = open();
      begin(account);
      burn(100);
      end(account);
      expect(account.deafMs(0, performance.now())).toBe(0);
      close(account);
    });
  });

  it('holds on to no unit of work that is over', () => {
    const old = open();
    burn(60);
    close(old);
    open().close(performance.now());
    loop.turns(performance.now());

    expect(JSON.stringify(loop.blocksSince(0))).toContain('"requestId":"r1"');
    for (const { culprit } of loop.blocksSince(0)) expect(culprit).not.toBeInstanceOf(TimeAccount);
  });

  it('counts those that are open, each once', () => {
    const [first, second] = [open(), open()];
    expect(loop.open).toBe(2);
    close(first, first, second);
    expect(loop.open).toBe(0);
  });
});
