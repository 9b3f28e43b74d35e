import type { RequestContext } from '../../context/request-context';
import type { RawStack } from '../../cost/call-site';
import type { CostLedger } from '../../cost/cost-ledger';
import type { Statement } from '../../cost/statement';
import type { AcquiringLines } from './acquiring-lines';
import { Holding } from './holding';
import type { PoolWait } from './pool-wait';
import type { WatchedPool } from './watched-pool';

/** A connection that is asked of a pool, and what it is asked for. */
export class Checkout {
  /** When it began to wait; 0 when it did not. */
  sinceMs = 0;
  /** What it is asked for alone, as by `pool.query()`. */
  statement: Statement | undefined = undefined;
  /** Who held the pool, once it has waited too long. */
  wait: PoolWait | undefined = undefined;
  #charge: { end(): void } | undefined = undefined;
  #isOver = false;

  constructor(
    readonly pool: WatchedPool,
    readonly context: RequestContext | undefined,
    /** What the wait is charged to; a query that waits counts it itself. */
    public ledger: CostLedger | undefined,
    readonly lines: AcquiringLines,
    readonly stack: RawStack | undefined,
  ) {}

  get poolWaitMs(): number {
    return this.context?.application.poolLimits?.poolWaitMs ?? 0;
  }

  queued(): void {
    if (this.sinceMs !== 0 || this.#isOver) return;
    this.sinceMs = performance.now();
    this.#charge = this.ledger?.beginWait();
    this.pool.enqueue(this);
  }

  acquired(connection: object): void {
    if (this.#isOver) return;
    const now = performance.now();
    this.#end(now);
    const holding = new Holding(this.context, this.lines, this.stack, now);
    if (this.statement !== undefined) holding.begin(this.statement);
    this.pool.hold(connection, holding);
  }

  failed(): void {
    if (!this.#isOver) this.#end(performance.now());
  }

  #end(now: number): void {
    this.#isOver = true;
    if (this.sinceMs === 0) return;
    this.pool.dequeue(this);
    this.#charge?.end();
    if (this.wait !== undefined) this.wait.waitedMs = now - this.sinceMs;
  }
}
