import type { CostRecord } from '../cost/cost-record';
import { mainCauseOf } from '../diagnosis/main-cause';
import { mostRemote } from '../diagnosis/report-text';

const OTHERS: Readonly<Record<string, string>> = {
  cache:
    'Ask the cache for many keys at once (MGET, HMGET, a pipeline), or keep what the request needs again.',
  deadlineMs:
    'See where its time went (`time` of its record), stop what listens to contextService.signal, or give it longer.',
  http: 'Ask the other service once for all (a bulk route), or keep its answers for the request.',
  loopBlockMs:
    'Split the work up (setImmediate between the parts), move it to a worker thread, or use the asynchronous form of the call.',
  messages: 'Publish one message for all, or a batch (addBulk, sendBatch).',
};

/** What an N+1 drives up. */
const OF_QUERIES = ['queries', 'repeats', 'durationMs'];
const WRITE = /^(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b/i;
const REMOTE = ['remoteQueries', 'remoteRows'];

/** The one thing to try first about a breach. */
export function nextStep({ queries, findings = [], breaches, remote, traceId }: CostRecord): string {
  const dimension = breaches[0]?.dimension ?? 'queries';
  const cause = OF_QUERIES.includes(dimension) ? mainCauseOf(findings, queries.count) : undefined;
  if (cause !== undefined) return cause.remedy;
  const [top] = queries.shapes;
  const table = top?.table ?? 'the database';
  if (dimension === 'rows') {
    const largest = queries.shapes.reduce(
      (a, b) => (b.rows > a.rows ? b : a),
      top ?? { rows: 0, table: undefined },
    );
    return `Let the database count, aggregate or page (COUNT, GROUP BY, LIMIT) instead of fetching ${largest.rows.toLocaleString('en-US')} rows of ${largest.table ?? table}.`;
  }
  if (dimension === 'durationMs') {
    const slowest = queries.shapes.reduce(
      (a, b) => (b.durationMs > a.durationMs ? b : a),
      top ?? { durationMs: 0, table: undefined },
    );
    return `Look at the slowest shape, on ${slowest.table ?? table}, with EXPLAIN (ANALYZE, BUFFERS).`;
  }
  if (dimension === 'writes')
    return `Write many rows at once to ${table} (multi-row VALUES, UPDATE … FROM, COPY).`;
  if (REMOTE.includes(dimension)) {
    const [[host] = ['the other service']] = mostRemote(remote);
    const where = traceId === undefined ? '' : ` under trace id ${traceId}`;
    return `Look at the records of ${host}${where}, and ask it once for all (a bulk route).`;
  }
  const other = OTHERS[dimension];
  if (other !== undefined) return other;
  // The proven ones come first.
  const finding = findings.find(({ confidence }) => confidence !== 'suspected');
  if (finding !== undefined && (dimension === 'repeats' || 2 * finding.count > queries.count))
    return finding.remedy;
  // It may be another shape than the most frequent one, which may be a batch for each row.
  if (finding?.confidence === 'proven') return finding.remedy;
  if (top !== undefined && top.count > queries.count / 2) {
    const how = queries.maxConcurrent > 1 ? 'side by side' : 'one after the other';
    if (WRITE.test(top.shape))
      return `One shape ran ${top.count.toLocaleString('en-US')} times, ${how}: write to ${table} once for all rows (multi-row VALUES, UPDATE … FROM, COPY).`;
    return `One shape ran ${top.count.toLocaleString('en-US')} times, ${how}: fetch from ${table} once for all (JOIN, IN (…) or a DataLoader).`;
  }
  if (finding !== undefined && 4 * finding.count >= queries.count) return finding.remedy;
  return `${queries.shapes.length} different shapes: load what the handler needs together, or split the handler.`;
}
