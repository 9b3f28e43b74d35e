import { performance } from 'node:perf_hooks';
import type { Statement } from '../../sql/statement';
import type { QueryHandle } from '../../cost/query-handle';
import { Waiter } from './waiter';
import type { WatchedPool } from './watched-pool';

/** A query that is made on a pool: it waits for a connection, holds it, and gives it back with its end. */
export class PooledQuery extends Waiter {
  /** Absent where it is not counted. */
  handle: QueryHandle | undefined = undefined;
  /** Absent where nobody watches pools. */
  watched: WatchedPool | undefined = undefined;
  statement: Statement | undefined = undefined;

  /** It has its connection. */
  acquired(connection: object): void {
    const now = performance.now();
    const { watched, statement } = this;
    if (watched !== undefined) {
      if (this.askedMs !== 0) watched.dequeue(this, now);
      const lease = watched.hold(connection, this.context, now);
      if (statement !== undefined) lease?.begin(statement);
    }
    if (this.askedMs !== 0) this.handle?.sent(now);
  }

  /** It gets none, or may not be sent. */
  failed(): void {
    if (this.askedMs !== 0) this.watched?.dequeue(this, performance.now());
    this.handle?.end(0, true);
  }
}
