import { performance } from 'node:perf_hooks';
import type { RequestContext } from '../../context/request-context';
import type { RawStack } from '../../kernel/call-site';
import type { CostLedger } from '../../cost/cost-ledger';
import type { Statement } from '../../sql/statement';
import type { AcquiringLines } from '../../context/acquiring-lines';
import { Waiter } from './waiter';
import type { WatchedPool } from './watched-pool';

/** A connection that the application asks of a pool, and holds until it gives it back. */
export class Acquisition extends Waiter {
  /** What it is asked for alone, where a query asks for it. */
  statement: Statement | undefined = undefined;
  readonly #pool: WatchedPool;
  readonly #lines: AcquiringLines;
  readonly #stack: RawStack | undefined;
  #charge: { end(): void } | undefined = undefined;
  #isOver = false;

  /** @param ledger what the wait is charged to; a query that waits counts it itself. */
  constructor(
    pool: WatchedPool,
    context: RequestContext | undefined,
    public ledger: CostLedger | undefined,
    lines: AcquiringLines,
    stack: RawStack | undefined,
  ) {
    super();
    this.context = context;
    this.#pool = pool;
    this.#lines = lines;
    this.#stack = stack;
  }

  queued(): void {
    if (this.askedMs !== 0 || this.#isOver) return;
    this.askedMs = performance.now();
    this.#charge = this.ledger?.beginWait();
    this.#pool.enqueue(this);
  }

  acquired(connection: object): void {
    if (this.#isOver) return;
    const now = performance.now();
    this.#end(now);
    const lease = this.#pool.hold(connection, this.context, now);
    if (lease === undefined) return;
    lease.lines = this.#lines;
    lease.stack = this.#stack;
    if (this.statement !== undefined) lease.begin(this.statement);
  }

  failed(): void {
    if (!this.#isOver) this.#end(performance.now());
  }

  #end(now: number): void {
    this.#isOver = true;
    if (this.askedMs === 0) return;
    this.#pool.dequeue(this, now);
    this.#charge?.end();
  }
}
