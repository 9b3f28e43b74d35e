import { CostLedger } from '../../../lib/cost/cost-ledger';
import { describeStatement } from '../../../lib/sql/describe-statement';
import { Evidence } from '../../../lib/cost/evidence/evidence';
import type { Columns } from '../../../lib/cost/evidence/kept-results';
import { GrowthHistory } from '../../../lib/cost/growth-history';
import type { Charge } from '../../../lib/cost/query-charge';
import type { RepeatFinding } from '../../../lib/cost/repeat-finding';
import type { ShapeCost } from '../../../lib/cost/shape-cost';
import type { SqlDialect } from '../../../lib/sql/statement';

export type Row = Readonly<Record<string, unknown>>;

const here = (): void => undefined;

/** A unit of work that statements and rows are fed to, as a driver would. */
export class UnitOfWork {
  readonly ledger = new CostLedger();
  readonly evidence = new Evidence(this.ledger);
  readonly #dialect: SqlDialect;

  constructor(history: GrowthHistory = new GrowthHistory(), dialect: SqlDialect = 'postgresql') {
    this.ledger.history = history;
    this.ledger.evidence = this.evidence;
    this.#dialect = dialect;
  }

  /** Sends a statement; what it returns ends it with its rows. */
  begin(
    text: string,
    parameters?: unknown,
    target?: object,
  ): <T>(rows: readonly T[], columns?: Columns) => readonly T[] {
    const statement = describeStatement(text, this.#dialect);
    const charge = this.ledger.begin(statement, here) as Charge;
    const shape = this.ledger.shapes!.get(statement.shape) as ShapeCost;
    this.evidence.ran(shape, text, parameters, target);
    return (rows, columns) => {
      this.evidence.answered(shape, rows, columns);
      charge.end(rows.length);
      return rows;
    };
  }

  run<T>(
    text: string,
    parameters: unknown,
    rows: readonly T[],
    columns?: Columns,
    target?: object,
  ): readonly T[] {
    return this.begin(text, parameters, target)(rows, columns);
  }

  /** Runs a statement that affects rows and returns none. */
  write(text: string, parameters: unknown, affected = 1): void {
    const statement = describeStatement(text, this.#dialect);
    const charge = this.ledger.begin(statement, here) as Charge;
    this.evidence.ran(this.ledger.shapes!.get(statement.shape) as ShapeCost, text, parameters);
    charge.end(affected);
  }

  /** What is found, in short: `proven items.order_id`-like lines are `kind confidence table < parent.column`. */
  get found(): string[] {
    return this.ledger.findings().map(short);
  }

  close(): void {
    this.ledger.isClosed = true;
    this.ledger.history!.learn(this.ledger);
    this.evidence.release(this.ledger.history);
  }
}

export function short({ kind, confidence, table, parents }: RepeatFinding): string {
  const from = parents.map(
    parent => `${parent.table}${parent.column === undefined ? '' : `.${parent.column}`}`,
  );
  return [confidence ?? kind, table, ...(from.length > 0 ? ['<', from.join(' + ')] : [])].join(' ');
}

/** Ids as databases give them: those of two tables are alike only where they count. */
export const IDS: Readonly<Record<string, (n: number, table?: number) => unknown>> = {
  'ids 1 to n': n => n + 1,
  'irregular ids': (n, table = 0) => 10_000 + ((n * 7_919 + n * n * 613 + table * 31_337) % 89_989),
  UUIDs: (n, table = 0) =>
    `${(0x1000_0000 + n * 0x0765_4321).toString(16).slice(-8)}-1c2d-4e5f-8a9b-${String(n * 7 + 100_000_000_000 + table)}`,
};

export function rowsOf(count: number, make: (n: number) => Row, from = 0): Row[] {
  return Array.from({ length: count }, (_, n) => make(n + from));
}
