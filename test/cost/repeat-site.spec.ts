import { describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { describeStatement } from '../../lib/sql/describe-statement';
import { captureStack } from '../../lib/kernel/call-site';
import { GrowthHistory } from '../../lib/cost/growth-history';
import { runOrmCall, runOrmCallAtOnce, runOrmCallFrom } from '../../lib/cost/orm-call';

const ITEM = describeStatement('SELECT * FROM items WHERE id = $1', 'postgresql');

/** Two places of one handler that may repeat the same statement. */
function first(ledger: CostLedger, times: number): void {
  for (let i = 0; i < times; i += 1) ledger.begin(ITEM, ledger.begin)?.end(1);
}

function second(ledger: CostLedger, times: number): void {
  for (let i = 0; i < times; i += 1) ledger.begin(ITEM, ledger.begin)?.end(1);
}

function repeat(history: GrowthHistory | undefined, place: typeof first, times: number): CostLedger {
  const ledger = new CostLedger();
  ledger.history = history;
  place(ledger, times);
  return ledger;
}

const never = (): void => undefined;
const hasStack = (ledger: CostLedger): boolean => ledger.shapes?.get(ITEM.shape)?.stack !== undefined;

describe('where a handler repeats a statement', () => {
  it('is looked at in its first three units of work, and then each time that twice as many have', () => {
    const history = new GrowthHistory();
    const looked: number[] = [];
    for (let unit = 1; unit <= 30; unit += 1) if (hasStack(repeat(history, first, 5))) looked.push(unit);
    expect(looked).toEqual([1, 2, 3, 6, 12, 24]);
  });

  it('is not looked at below five runs, and in each unit of work from 25 on', () => {
    const history = new GrowthHistory();
    expect(hasStack(repeat(history, first, 4))).toBe(false);
    for (let unit = 0; unit < 3; unit += 1) repeat(history, first, 5);
    expect(hasStack(repeat(history, second, 24))).toBe(false);
    expect(hasStack(repeat(history, second, 25))).toBe(true);
  });

  it('is always looked at where nobody keeps what was seen', () => {
    for (let unit = 0; unit < 10; unit += 1) expect(hasStack(repeat(undefined, first, 5))).toBe(true);
  });

  it('is what was seen last, for those that are not looked at', () => {
    const history = new GrowthHistory();
    for (let unit = 0; unit < 3; unit += 1) repeat(history, first, 5);
    const site = history.repeatSiteOf(ITEM.shape);
    expect(site).toMatchObject({ name: 'first' });
    for (let unit = 0; unit < 3; unit += 1) repeat(history, second, 5);
    // The sixth was looked at.
    expect(history.repeatSiteOf(ITEM.shape)).toMatchObject({ name: 'second' });
    expect(history.siteOf(ITEM.shape)).toMatchObject({ name: 'first' });
  });

  it('is kept of 100 statements of a handler; the stack of the others is taken each time', () => {
    const history = new GrowthHistory();
    const run = (i: number): CostLedger => {
      const ledger = new CostLedger();
      ledger.history = history;
      const statement = describeStatement(`SELECT c${i} FROM items WHERE id = $1`, 'postgresql');
      for (let n = 0; n < 5; n += 1) ledger.begin(statement, ledger.begin)?.end(1);
      return ledger;
    };
    for (let unit = 0; unit < 4; unit += 1) for (let i = 0; i <= 100; i += 1) run(i);
    const stacks = (i: number): number => [...run(i).shapes!.values()].filter(({ stack }) => stack).length;
    expect(stacks(99)).toBe(0);
    expect(stacks(100)).toBe(1);
  });

  it('is looked for three times where nothing of the application is on the stack', () => {
    const history = new GrowthHistory();
    const at = (shape: string, tries: number): string | undefined => {
      // A function that is not on the stack has nothing above it.
      for (let i = 0; i < tries; i += 1) history.noteSite(shape, never);
      history.noteSite(shape, history.noteSite);
      return history.siteOf(shape)?.name;
    };
    const found = (shape: string): string | undefined => at(shape, 2);
    expect([found('a'), at('b', 3)]).toEqual(['at', undefined]);
  });

  it('is looked for in the first 200 calls of a pool', () => {
    const history = new GrowthHistory();
    const taken = Array.from({ length: 201 }, () => history.takesCall());
    expect([taken.indexOf(false), taken.filter(Boolean).length]).toEqual([200, 200]);
  });
});

describe('a query of an ORM that has nothing of the application on its stack', () => {
  /** Notes a query whose stack leads nowhere, a turn after the ORM was called. */
  async function query(history: GrowthHistory, shape: string): Promise<string> {
    await Promise.resolve();
    history.noteSite(shape, never);
    return shape;
  }

  it('is made where the call of the ORM is awaited', async () => {
    const history = new GrowthHistory();
    async function caller(): Promise<void> {
      expect(await runOrmCall(() => query(history, 'awaited'))).toBe('awaited');
    }
    await caller();
    expect(history.siteOf('awaited')).toMatchObject({ name: 'caller' });
  });

  it('is made where a call is awaited that has sent it at once, of which all else is left alone', async () => {
    const history = new GrowthHistory();
    const promise = Promise.resolve(1);
    function send(shape: string, stackBoundary: () => void): Promise<number> {
      history.noteSite(shape, stackBoundary);
      return promise;
    }
    const known = (): Promise<number> => runOrmCallAtOnce(() => send('known', known as never));
    expect(known()).toBe(promise);
    async function caller(): Promise<void> {
      expect(await runOrmCallAtOnce(() => send('sent', never))).toBe(1);
    }
    await caller();
    history.noteSite('after', never);
    await promise;
    expect(history.siteOf('sent')).toMatchObject({ name: 'caller' });
    expect(history.siteOf('after')).toBeUndefined();
  });

  it('is made where a thenable of the ORM is awaited', async () => {
    const history = new GrowthHistory();
    const thenable: PromiseLike<string> = {
      // oxlint-disable-next-line unicorn/no-thenable -- What an ORM makes.
      then: (...given) => runOrmCall(() => query(history, 'lazy')).then(...given),
    };
    async function caller(): Promise<void> {
      expect(await thenable).toBe('lazy');
    }
    await caller();
    expect(history.siteOf('lazy')).toMatchObject({ name: 'caller' });
  });

  it('is made where the call began, if that was noted', async () => {
    const history = new GrowthHistory();
    async function property(): Promise<string> {
      return runOrmCallFrom(captureStack(property), () => query(history, 'begun'));
    }
    function reader(): Promise<string> {
      return property();
    }
    await reader();
    expect(history.siteOf('begun')).toMatchObject({ name: 'reader' });
  });

  it('has no line once the call has ended', async () => {
    const history = new GrowthHistory();
    let late: Promise<string> | undefined;
    await runOrmCall(async () => {
      late = new Promise(resolve => setTimeout(resolve, 5)).then(() => query(history, 'late'));
    });
    await late;
    expect(history.siteOf('late')).toBeUndefined();
  });

  it('gives what the call gives: an error that is thrown, or a value that is no promise', async () => {
    const error = new Error('refused');
    expect(() =>
      runOrmCall(() => {
        throw error;
      }),
    ).toThrow(error);
    await expect(runOrmCall(() => Promise.reject(error))).rejects.toBe(error);
    expect(runOrmCall(() => 1)).toBe(1);
  });

  it('is looked at as often as the shape that a relation loads', () => {
    const history = new GrowthHistory();
    const relation = {};
    const taken = (loads: number): number[] => {
      const ledger = new CostLedger();
      ledger.history = history;
      return Array.from({ length: loads }, (_, i) => (ledger.takesLoad(relation) ? i + 1 : 0)).filter(
        Boolean,
      );
    };
    expect([6, 6, 6, 30, 6, 6].map(taken)).toEqual([[1, 5], [1, 5], [1, 5], [25], [], [5]]);
  });
});
