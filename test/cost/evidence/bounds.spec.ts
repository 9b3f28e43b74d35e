import { describe, expect, it } from 'vitest';
import { MAX_ROWS_OF_UNIT, rowsKept } from '../../../lib/cost/evidence/kept-results';
import { GrowthHistory } from '../../../lib/cost/growth-history';
import { IDS, rowsOf, UnitOfWork } from './unit-of-work';

const ITEMS = 'SELECT * FROM items WHERE order_id = $1';
const id = IDS['irregular ids']!;
const list = (unit: UnitOfWork, count: number) =>
  unit.run(
    'SELECT * FROM orders',
    [],
    rowsOf(count, n => ({ id: id(n) })),
  );

describe('a unit of work', () => {
  it('of 100,000 runs holds no more rows than any other, and says the same', () => {
    const unit = new UnitOfWork();
    for (let i = 0; i < 10_000; i++) {
      const rows = unit.run(
        'SELECT * FROM orders WHERE day = $1',
        [`d${i}`],
        rowsOf(9, n => ({ id: 11 * (9 * i + n) })),
      );
      for (const row of rows) unit.run(ITEMS, [row['id']], [{ id: 1 }, { id: 2 }]);
    }
    expect(rowsKept()).toBeLessThanOrEqual(MAX_ROWS_OF_UNIT);
    const { slots, candidates } = unit.ledger.shapes!.get('SELECT * FROM items WHERE order_id = ?')!.trail!
      .match!;
    expect(slots.map(({ keys, recent }) => [keys.length, recent.length])).toEqual([[64, 4]]);
    expect(candidates.length).toBeLessThanOrEqual(12);
    expect(unit.ledger.repeats).toBe(90_000);
    unit.close();
  });

  it('judges each statement once, however many ways lead from one to the other', () => {
    const unit = new UnitOfWork();
    const users = rowsOf(6, n => ({ user_id: IDS['UUIDs']!(n) }));
    const tables = 'alphas betas gammas deltas epsilons zetas etas thetas iotas kappas lambdas'.split(' ');
    for (let pass = 0; pass < 6; pass++) {
      for (const row of users) {
        for (const table of tables)
          unit.run(`SELECT * FROM ${table} WHERE user_id = $1`, [row['user_id']], [row]);
      }
    }
    const startMs = performance.now();
    unit.close();
    // It took minutes.
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  it('finds a loop over 50,000 rows by the first of them', () => {
    const unit = new UnitOfWork();
    for (const row of list(unit, 50_000).slice(0, 3_000)) unit.run(ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
    unit.close();
  });

  it('says after its close what it has said before, and holds nothing', () => {
    const unit = new UnitOfWork();
    for (const row of list(unit, 6)) unit.run(ITEMS, [row['id']], []);
    for (let n = 0; n < 5; n++) unit.run('SELECT * FROM teams WHERE id = $1', [900_000 + n * n], []);
    const before = unit.ledger.findings();
    expect(before).toMatchObject([{ confidence: 'proven' }, { kind: 'look-ups' }]);
    unit.close();
    expect(unit.ledger.findings()).toEqual(before);
    expect(unit.ledger.repeats).toBe(6);
    expect(rowsKept()).toBe(0);
    expect([...unit.ledger.shapes!.values()].map(({ trail }) => trail)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('says nothing of a value, and keeps none in the history of its handler', () => {
    const history = new GrowthHistory();
    const unit = new UnitOfWork(history);
    const secret = (n: number): string => `secret-${n}@example.org`;
    const rows = unit.run(
      'SELECT * FROM users',
      [],
      rowsOf(6, n => ({ email: secret(n) })),
    );
    for (const row of rows) unit.run('SELECT * FROM mails WHERE email = $1', [row['email']], []);
    expect(unit.found).toEqual(['proven mails < users.email']);
    unit.close();
    expect(JSON.stringify(unit.ledger.findings())).not.toContain('secret');
  });

  it('is not disturbed by what throws when it is read', () => {
    const unit = new UnitOfWork();
    let reads = 0;
    const hostile = {
      get id(): number {
        reads += 1;
        throw new Error('read');
      },
    };
    for (let i = 0; i < 6; i++) {
      unit.run('SELECT * FROM orders WHERE data = $1', [hostile], [{ id: i }]);
      unit.run(
        ITEMS,
        new Proxy([i], {
          get: () => {
            throw new Error('read');
          },
        }),
        [],
      );
    }
    expect(reads).toBe(0);
    expect(unit.found.filter(line => line.startsWith('proven'))).toEqual([]);
    unit.close();
    expect(rowsKept()).toBe(0);
  });

  it('is not misled by an array of parameters that is filled anew for each run', () => {
    const unit = new UnitOfWork();
    const parameters: unknown[] = [];
    for (const row of list(unit, 8)) {
      parameters[0] = row['id'];
      unit.run(ITEMS, parameters, []);
    }
    expect(unit.found).toEqual(['proven items < orders.id']);
    unit.close();
  });

  it('finds a loop that takes its rows out of their list, and one that rewrites them', () => {
    const unit = new UnitOfWork();
    const queue = [...list(unit, 8)];
    for (let row = queue.shift(); row !== undefined; row = queue.shift()) unit.run(ITEMS, [row['id']], []);
    const rows = unit.run(
      'SELECT * FROM teams',
      [],
      rowsOf(8, n => ({ id: id(n, 2) })).map(row => ({ ...row }) as Record<string, unknown>),
    );
    for (const row of rows) {
      unit.run('SELECT * FROM members WHERE team_id = $1', [row['id']], []);
      row['id'] = `team_${String(row['id'])}`;
    }
    expect(unit.found).toEqual(['proven items < orders.id', 'proven members < teams.id']);
    unit.close();
  });
});
