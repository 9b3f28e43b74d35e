import { ContextService, type CostRecord } from 'nestjs-async-context';
import { type TestApp, until } from './platforms';

let unit = 0;

/** Runs some work in a unit of work of its own, to its end, and gives its record. */
export async function recordOfUnit(test: TestApp, work: () => unknown): Promise<CostRecord> {
  const requestId = `unit-${process.pid}-${(unit += 1)}`;
  await test.app.get(ContextService).run({ requestId }, work);
  return until(() => test.sink.records.find(record => record.requestId === requestId), 'record');
}

/** What a statement comes to in the record; tables and shapes are those of its first shape. */
export interface StatementCost {
  readonly count: number;
  readonly rows: number;
  readonly writes: number;
  readonly transactions: number;
  readonly errors: number;
  readonly table: string | undefined;
  readonly shape: string | undefined;
}

/** What some work comes to, also when it fails. */
export async function costOf(test: TestApp, work: () => unknown): Promise<StatementCost> {
  const { queries } = await recordOfUnit(test, async () => {
    await new Promise(resolve => resolve(work())).catch(() => undefined);
  });
  const { count, rows, writes, transactions, errors } = queries;
  const [first] = queries.shapes;
  return { count, rows, writes, transactions, errors, table: first?.table, shape: first?.shape };
}

/** A statement that reads one row; what a test wants to be different. */
export function costs(more: Partial<StatementCost>): StatementCost {
  return {
    count: 1,
    rows: 1,
    writes: 0,
    transactions: 0,
    errors: 0,
    table: undefined,
    shape: undefined,
    ...more,
  };
}

/** How many queries each of so many units of work, all at once, was charged for what it made. */
export async function chargedAtOnce(
  test: TestApp,
  units: number,
  work: (queries: number) => Promise<unknown>,
): Promise<{ made: number[]; charged: number[] }> {
  const made = Array.from({ length: units }, (_, i) => 1 + (i % 7));
  const records = await Promise.all(made.map(queries => recordOfUnit(test, () => work(queries))));
  return { made, charged: records.map(({ queries }) => queries.count) };
}
