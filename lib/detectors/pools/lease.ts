import type { LeaseState } from '../../cost/pool-wait';
import { workOf } from '../../reporting/request-of';
import type { RequestContext } from '../../context/request-context';
import type { RawStack } from '../../kernel/call-site';
import type { Statement } from '../../sql/statement';
import type { AcquiringLines } from '../../context/acquiring-lines';

const OPENING: ReadonlySet<string> = new Set(['BEGIN', 'START']);
const ENDING: ReadonlySet<string> = new Set(['COMMIT', 'END', 'ROLLBACK', 'ABORT']);
/** Goes back to a savepoint, and the transaction goes on. */
const TO_SAVEPOINT = /^ROLLBACK (WORK |TRANSACTION )?TO\b/i;

/** What a connection of a pool is held for. It lives as long as its connection: to take it makes no object. */
export class Lease {
  /** From when it was acquired until it is given back. */
  isHeld = false;
  /** How often it was taken: what ends later than it was given back is of another holder. */
  turn = 0;
  /** Whether its pool knows of it. */
  isListed = false;
  /** Who holds it; nobody's is outside of any unit of work. */
  context: RequestContext | undefined = undefined;
  /** `performance.now()` of when it was acquired. */
  sinceMs = 0;
  /** The statement that runs, or ran last. */
  statement: Statement | undefined = undefined;
  running = 0;
  isInTransaction = false;
  /** Whether it has outlived its request long enough to be watched, and to be reported. */
  isSuspect = false;
  isReported = false;
  /** Absent for a query of the pool, which has a call site of its own. */
  lines: AcquiringLines | undefined = undefined;
  stack: RawStack | undefined = undefined;
  /** Where it was acquired, once its own stack was looked at. */
  line: string | undefined = undefined;

  get state(): LeaseState {
    if (this.running > 0) return 'running';
    return this.isInTransaction ? 'idle in transaction' : 'idle';
  }

  take(context: RequestContext | undefined, nowMs: number): void {
    this.isHeld = true;
    this.turn += 1;
    this.context = context;
    this.sinceMs = nowMs;
    this.statement = undefined;
    this.running = 0;
    this.isInTransaction = false;
    this.isSuspect = false;
    this.isReported = false;
    this.lines = undefined;
    this.stack = undefined;
    this.line = undefined;
  }

  /** Forgets who has held it, which keeps the objects of a request. */
  giveBack(): void {
    this.isHeld = false;
    this.context = undefined;
    this.stack = undefined;
  }

  begin(statement: Statement): void {
    this.statement = statement;
    this.running += 1;
    if (statement.kind === 'transaction') this.#follow(statement);
  }

  end(turn: number): void {
    if (turn === this.turn) this.running -= 1;
  }

  #follow({ operation, shape }: Statement): void {
    if (OPENING.has(operation)) this.isInTransaction = true;
    else if (ENDING.has(operation) && !TO_SAVEPOINT.test(shape)) this.isInTransaction = false;
  }
}

/** The name of what holds a connection, or waits for one. */
export function nameOf(context: RequestContext | undefined): string {
  if (context === undefined) return 'outside of any unit of work';
  return workOf(context);
}
