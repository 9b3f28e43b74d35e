import type { CostRecord, ShapeCostRecord } from '../../cost/cost-record';
import { remedyOfWrites } from '../../cost/find-repeats';
import { isWrite } from '../../reporting/finding-cause';
import { cut, number } from '../../reporting/report-text';

const LOCKS = /\bFOR (?:no key )?(?:update|(?:key )?share)\b/i;

/** From so many runs on, that they are many is the problem. */
const MANY_RUNS = 5;
/** A query with a smaller share of the time gains nothing by running beside another. */
const LEAST_SHARE = 0.1;

/** The table of a shape, as a report names it. */
export function tableOf(shape: ShapeCostRecord | undefined): string | undefined {
  return shape?.table === undefined ? undefined : cut(shape.table);
}

/** What to do about the time that the statements of a unit of work took, the slowest of which is named. */
export function fixOfDatabase(record: CostRecord, slowest: ShapeCostRecord | undefined): string {
  if (slowest === undefined) return 'run EXPLAIN (ANALYZE, BUFFERS) on its statements';
  const { shape, count } = slowest;
  if (count >= MANY_RUNS) {
    return isWrite(shape)
      ? remedyOfWrites(shape, tableOf(slowest))
      : `run it once for all rows instead of ${number(count)} times (IN (…), GROUP BY or a JOIN), then EXPLAIN (ANALYZE, BUFFERS) that`;
  }
  // The plan of a statement that waits for a row is a good one; and with ANALYZE it would write, or lock, again.
  if (isWrite(shape) || LOCKS.test(shape))
    return 'check whether it waited for a lock (PostgreSQL: pg_locks), then run EXPLAIN without ANALYZE, which would execute it';
  const explain = 'run EXPLAIN (ANALYZE, BUFFERS) on this statement';
  return isSequence(record) ? `${explain}, and see which queries could run in parallel` : explain;
}

/** Whether two different queries took time one after another, and outside of a transaction, which has one connection. */
function isSequence({ queries }: CostRecord): boolean {
  const [, second] = queries.shapes.toSorted((a, b) => b.durationMs - a.durationMs);
  return (
    second !== undefined &&
    second.durationMs >= LEAST_SHARE * queries.durationMs &&
    queries.durationMs <= (1 + LEAST_SHARE) * queries.busyMs &&
    queries.transactions === 0
  );
}
