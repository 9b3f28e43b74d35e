import { beforeEach, describe, expect, it } from 'vitest';
import { callSiteOf, type CallSite, captureStack, describeCallSite } from '../../lib/kernel/call-site';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { describeStatement } from '../../lib/sql/describe-statement';
import { GrowthHistory } from '../../lib/cost/growth-history';
import { forgetFrames, noteFrames } from '../../lib/kernel/helper-frames';

const history = new GrowthHistory();

/** The helper of an application, and what calls it. */
function q(ledger: CostLedger, text: string): void {
  ledger.begin(describeStatement(text, 'postgresql'), ledger.begin)?.end(1);
}
class Base {
  run(ledger: CostLedger, text: string): void {
    q(ledger, text);
  }
}
class Orders extends Base {
  list(ledger: CostLedger): void {
    this.run(ledger, 'SELECT * FROM orders');
  }
  items(ledger: CostLedger): void {
    this.run(ledger, 'SELECT * FROM items WHERE order_id = $1');
  }
}
function find(ledger: CostLedger): void {
  ledger.begin(describeStatement('SELECT * FROM users WHERE id = $1', 'postgresql'), ledger.begin)?.end(1);
}

const siteOf = (text: string): string | undefined => {
  const site = history.siteOf(describeStatement(text, 'postgresql').shape);
  return site && describeCallSite(site);
};

describe('a line that others ask through', () => {
  beforeEach(forgetFrames);

  it('is named beside the one above it, once it has asked for another shape for another caller', () => {
    const ledger = new CostLedger();
    ledger.history = history;
    const orders = new Orders();
    orders.list(ledger);
    expect(siteOf('SELECT * FROM orders')).toMatch(/^helper-frames\.spec\.ts:\d+ q$/);
    orders.items(ledger);
    expect(siteOf('SELECT * FROM items WHERE order_id = $1')).toMatch(
      /^helper-frames\.spec\.ts:\d+ items, through helper-frames\.spec\.ts:\d+ q$/,
    );
    // The first as well: what it was is known by now.
    expect(siteOf('SELECT * FROM orders')).toMatch(/:\d+ list, through helper-frames\.spec\.ts:\d+ q$/);
  });

  it('is no helper where all of its callers ask for the same', () => {
    const ledger = new CostLedger();
    const other = new GrowthHistory();
    const one = (): void => find(ledger);
    const two = (): void => find(ledger);
    for (const [at, call] of [one, two].entries()) {
      ledger.history = at === 0 ? history : other;
      ledger.shapes = undefined;
      call();
    }
    for (const known of [history, other]) {
      const site = known.siteOf('SELECT * FROM users WHERE id = ?');
      expect(site && describeCallSite(site)).toMatch(/^helper-frames\.spec\.ts:\d+ find$/);
    }
  });

  it('is no helper where one caller asks it for many things', () => {
    const caller = siteAt('caller.js', 1);
    for (const shape of ['a', 'b', 'c']) noteFrames(shape, { ...siteAt('query.js', 1), caller });
    expect(describeCallSite({ ...siteAt('query.js', 1), caller })).toBe('query.js:1 fn');
  });

  it('is one of four that are kept of a stack', () => {
    const nested = (depth: number): ReturnType<typeof captureStack> =>
      depth === 1 ? captureStack(captureStack) : nested(depth - 1);
    let lines = 0;
    for (let site = callSiteOf(nested(9)); site !== undefined; site = site.caller) lines += 1;
    expect(lines).toBe(4);
  });

  it('is known of 1,000 lines', () => {
    const learn = (line: number): string => {
      for (const at of [1, 2])
        noteFrames(`shape ${at}`, { ...siteAt('helper.js', line), caller: siteAt('caller.js', at) });
      return describeCallSite({ ...siteAt('helper.js', line), caller: siteAt('caller.js', 1) });
    };
    for (let line = 1; line < 1_000; line += 1) learn(line);
    expect(learn(1_000)).toBe('caller.js:1 fn, through helper.js:1000 fn');
    expect(learn(1_001)).toBe('helper.js:1001 fn');
  });
});

function siteAt(file: string, line: number): CallSite {
  return { file: `/app/${file}`, line, column: 1, name: 'fn' };
}
