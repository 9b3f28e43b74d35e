import { workOf } from '../request-of';
import type { RequestContext } from '../../context/request-context';
import type { RawStack } from '../../cost/call-site';
import type { Statement } from '../../cost/statement';
import type { AcquiringLines } from './acquiring-lines';

/** What a connection is busy with, while it is held. */
export type HoldingState = 'running' | 'idle' | 'idle in transaction';

const OPENING: ReadonlySet<string> = new Set(['BEGIN', 'START']);
const ENDING: ReadonlySet<string> = new Set(['COMMIT', 'END', 'ROLLBACK', 'ABORT']);
/** Goes back to a savepoint, and the transaction goes on. */
const TO_SAVEPOINT = /^ROLLBACK (WORK |TRANSACTION )?TO\b/i;

/** A connection that was checked out and has not been given back. */
export class Holding {
  readonly sinceMs: number;
  /** The statement that runs, or ran last. */
  statement: Statement | undefined = undefined;
  running = 0;
  isInTransaction = false;
  /** Whether it has outlived its request long enough to be watched, and to be reported. */
  isSuspect = false;
  isReported = false;
  /** Where it was acquired, once its own stack was looked at. */
  line: string | undefined = undefined;

  constructor(
    /** Who holds it; nobody's is outside of any unit of work. */
    readonly context: RequestContext | undefined,
    readonly lines: AcquiringLines,
    public stack: RawStack | undefined,
    nowMs: number,
  ) {
    this.sinceMs = nowMs;
  }

  get state(): HoldingState {
    if (this.running > 0) return 'running';
    return this.isInTransaction ? 'idle in transaction' : 'idle';
  }

  begin(statement: Statement): void {
    this.statement = statement;
    this.running += 1;
    if (statement.kind === 'transaction') this.#follow(statement);
  }

  end(): void {
    this.running -= 1;
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
