import { captureStack, type RawStack } from './call-site';
import type { Statement } from './statement';

/** Shapes, and tables, kept for one unit of work; the rest is counted in the totals alone. */
export const MAX_SHAPES = 100;
/** A shape that repeats this often is worth the 2 to 5 µs that its call site costs. */
const CALL_SITE_AT_REPEAT = 5;

/** Running cost of one table. */
export interface TableCost {
  count: number;
  durationMs: number;
  rows: number;
}

/** Running cost of one statement shape. */
export interface ShapeCost {
  readonly shape: string;
  readonly table: string | undefined;
  readonly tableCost: TableCost | undefined;
  count: number;
  durationMs: number;
  rows: number;
  stack: RawStack | undefined;
}

/** Asked before a query is sent once the alarm is set off; it may throw to keep the query back. */
export interface CostAlarm {
  /** Ask from this query of the unit of work on; 0 asks before each. */
  atQuery: number;
  beforeQuery(ledger: CostLedger, statement: Statement, below: (...args: never[]) => unknown): void;
}

/** Counts what one unit of work asks of its databases. */
export class CostLedger {
  queries = 0;
  errors = 0;
  writes = 0;
  transactions = 0;
  rows = 0;
  durationMs = 0;
  busyMs = 0;
  maxConcurrent = 0;
  late = 0;
  isClosed = false;
  alarm: CostAlarm | undefined = undefined;
  /** Where the application was when the budget broke. */
  breachStack: RawStack | undefined = undefined;
  /** By main table; absent until there is one, as most units of work make no query. */
  tables: Map<string, TableCost> | undefined = undefined;
  /** By statement shape; absent until there is one. */
  shapes: Map<string, ShapeCost> | undefined = undefined;
  /** What the shapes beyond the first 100 cost, as one. */
  otherShapes: ShapeCost | undefined = undefined;
  #inFlight = 0;
  #busySince = 0;

  /** Counts a query that is about to be sent; `undefined` for one that is not charged. */
  begin(statement: Statement, below: (...args: never[]) => unknown): QueryCharge | undefined {
    if (this.isClosed) {
      this.late += 1;
      return undefined;
    }
    if (statement.kind === 'transaction') {
      this.transactions += 1;
      return undefined;
    }
    const shape = this.#count(statement);
    const alarm = this.alarm;
    if (alarm !== undefined && this.queries >= alarm.atQuery) alarm.beforeQuery(this, statement, below);
    if (shape.count === CALL_SITE_AT_REPEAT) shape.stack = captureStack(below);
    const now = performance.now();
    if (this.#inFlight === 0) this.#busySince = now;
    this.#inFlight += 1;
    if (this.#inFlight > this.maxConcurrent) this.maxConcurrent = this.#inFlight;
    return new QueryCharge(this, shape, this.#tableOf(shape, statement), now);
  }

  /** Adds what a query turned out to cost. */
  settle(
    shape: ShapeCost,
    table: TableCost | undefined,
    startMs: number,
    rows: number,
    failed: boolean,
  ): void {
    const now = performance.now();
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.busyMs += now - this.#busySince;
    if (failed) this.errors += 1;
    this.#add(shape, table, now - startMs, rows);
  }

  /** Adds a query that was measured elsewhere, as one piece. */
  record(statement: Statement, rows: number, durationMs: number): void {
    if (this.isClosed) {
      this.late += 1;
      return;
    }
    const shape = this.#count(statement);
    if (this.maxConcurrent === 0) this.maxConcurrent = 1;
    if (this.#inFlight === 0) this.busyMs += durationMs;
    this.#add(shape, this.#tableOf(shape, statement), durationMs, rows);
  }

  #count(statement: Statement): ShapeCost {
    this.queries += 1;
    if (statement.kind === 'write') this.writes += 1;
    const shape = this.#shapeOf(statement);
    shape.count += 1;
    const table = this.#tableOf(shape, statement);
    if (table !== undefined) table.count += 1;
    return shape;
  }

  #add(shape: ShapeCost, table: TableCost | undefined, durationMs: number, rows: number): void {
    this.durationMs += durationMs;
    this.rows += rows;
    shape.durationMs += durationMs;
    shape.rows += rows;
    if (table === undefined) return;
    table.durationMs += durationMs;
    table.rows += rows;
  }

  #shapeOf(statement: Statement): ShapeCost {
    const shapes = (this.shapes ??= new Map<string, ShapeCost>());
    const known = shapes.get(statement.shape);
    if (known !== undefined) return known;
    if (shapes.size >= MAX_SHAPES) return (this.otherShapes ??= newShape('other', undefined, undefined));
    const shape = newShape(statement.shape, statement.table, this.#keepTable(statement.table));
    shapes.set(statement.shape, shape);
    return shape;
  }

  #tableOf(shape: ShapeCost, statement: Statement): TableCost | undefined {
    return shape === this.otherShapes ? this.#keepTable(statement.table) : shape.tableCost;
  }

  #keepTable(table: string | undefined): TableCost | undefined {
    if (table === undefined) return undefined;
    const tables = (this.tables ??= new Map<string, TableCost>());
    let cost = tables.get(table);
    if (cost === undefined && tables.size < MAX_SHAPES) {
      cost = { count: 0, durationMs: 0, rows: 0 };
      tables.set(table, cost);
    }
    return cost;
  }
}

function newShape(shape: string, table: string | undefined, tableCost: TableCost | undefined): ShapeCost {
  return { shape, table, tableCost, count: 0, durationMs: 0, rows: 0, stack: undefined };
}

/** A query that was sent and has not ended; it stays with its unit of work whatever runs when it ends. */
export class QueryCharge {
  readonly #ledger: CostLedger;
  readonly #shape: ShapeCost;
  readonly #table: TableCost | undefined;
  readonly #startMs: number;
  #isSettled = false;

  constructor(ledger: CostLedger, shape: ShapeCost, table: TableCost | undefined, startMs: number) {
    this.#ledger = ledger;
    this.#shape = shape;
    this.#table = table;
    this.#startMs = startMs;
  }

  /** Ends the query; only the first call counts. `rows` are those returned or affected. */
  end(rows: number, failed = false): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#ledger.settle(this.#shape, this.#table, this.#startMs, rows, failed);
  }
}
