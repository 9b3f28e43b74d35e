import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { EventLoop } from '../../lib/cost/event-loop';
import { DATABASE, TimeAccount } from '../../lib/cost/time-account';

function burn(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** The parts of an account, rounded to the 20 ms that a busy machine may add. */
function partsOf(account: TimeAccount): Record<string, number> {
  const parts = {
    own: account.ownMs,
    stalled: account.stalledMs,
    other: account.otherMs,
    database: account.waitedMs('database'),
    blocked: account.blockedMs,
  };
  return Object.fromEntries(Object.entries(parts).map(([name, ms]) => [name, Math.round(ms / 50) * 50]));
}

describe('the accounts of units of work', () => {
  let loop: EventLoop;
  let units: number;
  beforeEach(async () => {
    loop = new EventLoop(() => undefined);
    units = 0;
    await sleep(5);
    loop.turns(performance.now());
  });

  const open = (): TimeAccount =>
    new TimeAccount(loop, { requestId: `r${(units += 1)}`, handler: undefined }, performance.now());
  const begin = (account: TimeAccount): void => account.begin(DATABASE, performance.now());
  const end = (account: TimeAccount): void => account.end(DATABASE, performance.now());
  const close = (...accounts: TimeAccount[]): void =>
    accounts.forEach(account => account.close(performance.now()));

  it('charges a block to the unit of work that was seen before and after it', () => {
    const other = open();
    begin(other);
    const account = open();
    burn(100);
    close(account);
    end(other);
    close(other);

    expect(partsOf(account)).toEqual({ own: 100, stalled: 0, other: 0, database: 0, blocked: 100 });
    expect(partsOf(other)).toEqual({ own: 0, stalled: 100, other: 0, database: 0, blocked: 0 });
  });

  it('blames neither of two that were answered at once', async () => {
    const [first, second] = [open(), open()];
    begin(first);
    begin(second);
    await sleep(20);
    loop.turns(performance.now());
    await sleep(5);
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

  it('blames nobody for 300 ms that nobody was seen at', async () => {
    const account = open();
    await sleep(20);
    burn(300);
    close(account);

    expect(partsOf(account)).toMatchObject({ own: 0, stalled: 0, other: 300, blocked: 0 });
    expect(loop.blocksSince(0)[0]).toMatchObject({ culprit: undefined, suspects: [account.number] });
  });

  it('infers up to 250 ms whose own work it was', async () => {
    const account = open();
    await sleep(20);
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
    expect(own! + stalled! + other! + database! + Math.round(queued.waitedMs('pool') / 50) * 50).toBe(100);
  });

  it('holds on to no unit of work that is over', async () => {
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
