import type { RequestContext } from '../context/request-context';
import { callSitesOf, describeCallSite } from '../kernel/call-site';
import type { TracedCallRecord } from '../cost/call-trace';
import type { CostLedger } from '../cost/cost-ledger';
import type { GrowthHistory } from '../cost/growth-history';
import { CALL_SITE_AT_REPEAT, MAX_SHAPES, type ShapeCost } from '../cost/shape-cost';
import { type CallDimension, keyOfCalls, type TargetCost } from '../cost/call-ledger';
import type {
  CallsCostRecord,
  CostRecord,
  LateRecord,
  QueriesCostRecord,
  RemoteCostRecord,
  RemoteTargetRecord,
  ShapeCostRecord,
  TableCostRecord,
  TargetCostRecord,
  UncountedCostRecord,
} from '../cost/cost-record';
import type { RemoteLedger, RemoteTargetCost } from '../cost/remote-ledger';
import type { RepeatFinding } from '../cost/repeat-finding';
import { recordSlow } from '../cost/slow-record';
import { recordStalls, recordTime, roundMs } from '../cost/time-record';

/** The most frequent ones; a handler with more needs another look than a list. */
const MAX_FINDINGS = 20;
const MAX_TRACED = 20;

/** The record of a closed unit of work, frozen. */
export function buildCostRecord(context: RequestContext): CostRecord {
  const { parentRequestId, handler, route, method, status, error, unhandledErrors, userId, within } = context;
  const exempted = context.budget?.limits.find(
    ({ exemption }) => (exemption?.endsAt ?? 0) > context.startedAt,
  );
  const findings = recordFindings(context.cost);
  const account = context.time;
  const time = recordTime(account);
  const stalls = recordStalls(account, context.blocks);
  const ownBlocks = context.blocks.filter(({ culprit }) => culprit?.account === account.number);
  // Call sites are looked up where they will be read: formatting one stack costs 20 µs and more.
  const withCallSites = context.breaches.length > 0 || context.isSlow;
  const evidence = {
    queries: recordQueries(context.cost, withCallSites),
    ...recordCalls(context.cost, withCallSites),
    ...(stalls.length > 0 && { stalls }),
  };
  const providerCalls = recordCallTrace(context.cost);
  const owner = exempted?.exemption?.owner ?? context.budget?.owner;
  return Object.freeze<CostRecord>({
    v: 1,
    requestId: context.requestId,
    ...recordTrace(context),
    ...(parentRequestId !== undefined && { parentRequestId }),
    ...(within !== undefined && { within }),
    kind: context.kind,
    ...(handler !== undefined && { handler: handler.name }),
    ...(route !== undefined && { route }),
    ...(method !== undefined && { method }),
    ...(status !== undefined && { status }),
    aborted: context.aborted,
    ...(error !== undefined && { error }),
    ...(unhandledErrors > 0 && { unhandledErrors }),
    startedAt: new Date(context.startedAt).toISOString(),
    durationMs: roundMs(context.elapsedMs),
    ...(userId !== undefined && { userId }),
    ...(owner !== undefined && { owner }),
    time,
    ...(context.isSlow && {
      slow: recordSlow(time, { ...evidence, ownBlocks, holders: holdersOf(context) }),
    }),
    ...(account.blockedMs > 0 && { blockedMs: roundMs(account.blockedMs) }),
    ...evidence,
    ...(context.cost.remote !== undefined && { remote: recordRemote(context.cost.remote) }),
    ...(findings.length > 0 && { findings }),
    ...(context.cost.apart !== undefined && { uncounted: recordUncounted(context.cost.apart) }),
    ...(context.cost.lateWork !== undefined && { late: recordLate(context.cost.lateWork) }),
    ...(providerCalls.length > 0 && { providerCalls }),
    breaches: context.breaches,
    ...(context.refused !== undefined && { refused: context.refused }),
  });
}

/** Nothing for a trace that would begin here and that nobody has asked for. */
function recordTrace(context: RequestContext): Pick<CostRecord, 'traceId' | 'spanId' | 'parentSpanId'> {
  if (context.traceId === undefined) return {};
  const { traceId, spanId, parentSpanId } = context.trace;
  return { traceId, spanId, ...(parentSpanId !== undefined && { parentSpanId }) };
}

/** The cost of each dimension that is not a query, as far as there are any. */
function recordCalls(
  { calls, history }: CostLedger,
  withCallSites: boolean,
): Partial<Record<CallDimension, CallsCostRecord>> {
  const record: Partial<Record<CallDimension, CallsCostRecord>> = {};
  for (const [dimension, ledger] of calls ?? []) {
    const byTarget = Object.create(null) as Record<string, TargetCostRecord>;
    for (const [target, cost] of ledger.targets) {
      const key = keyOfCalls(dimension, target);
      const callSite = withCallSites ? repeatSiteOf({ ...cost, key }, history) : undefined;
      byTarget[target] = recordTarget(cost, callSite);
    }
    record[dimension] = Object.freeze({
      ...recordTarget(ledger),
      busyMs: roundMs(ledger.busyMs),
      maxConcurrent: ledger.maxConcurrent,
      late: ledger.late,
      byTarget: Object.freeze(byTarget),
    });
  }
  return record;
}

function recordTarget({ count, errors, durationMs, bytes }: TargetCost, callSite?: string): TargetCostRecord {
  const target = { count, errors, durationMs: roundMs(durationMs), bytes };
  return Object.freeze({ ...target, ...(callSite !== undefined && { callSite }) });
}

function recordRemote(remote: RemoteLedger): RemoteCostRecord {
  const byTarget = Object.create(null) as Record<string, RemoteTargetRecord>;
  for (const [host, cost] of remote.targets) byTarget[host] = recordRemoteTarget(cost);
  return Object.freeze({ ...recordRemoteTarget(remote), byTarget: Object.freeze(byTarget) });
}

function recordRemoteTarget({ calls, queries, rows, durationMs }: RemoteTargetCost): RemoteTargetRecord {
  return Object.freeze({ calls, queries, rows, durationMs: roundMs(durationMs) });
}

/** Who held the connections that it had to wait for. */
function holdersOf({ poolWaits = [] }: RequestContext): string[] {
  return poolWaits.flatMap(({ holders }) => holders.map(({ handler }) => handler));
}

function recordFindings(cost: CostLedger): readonly RepeatFinding[] {
  return Object.freeze(
    cost
      .findings()
      .slice(0, MAX_FINDINGS)
      .map(finding => Object.freeze(finding)),
  );
}

function recordLate(work: ReadonlyMap<string, number>): readonly LateRecord[] {
  const records = [...work]
    .sort(([, a], [, b]) => b - a)
    .map(([what, count]) => Object.freeze({ what, count }));
  return Object.freeze(records);
}

function recordCallTrace(cost: CostLedger): readonly TracedCallRecord[] {
  const calls = cost.providerCalls().slice(0, MAX_TRACED);
  return Object.freeze(
    calls.map(({ totalMs, selfMs, ...call }) =>
      Object.freeze({ ...call, totalMs: roundMs(totalMs), selfMs: roundMs(selfMs) }),
    ),
  );
}

function recordUncounted(apart: ReadonlyMap<string, CostLedger>): readonly UncountedCostRecord[] {
  const records = [...apart].map(([reason, cost]) => {
    const { queries, rows, durationMs, cache, http, messages } = cost;
    return Object.freeze({ reason, queries, rows, durationMs: roundMs(durationMs), cache, http, messages });
  });
  return Object.freeze(records);
}

/** The shapes of a unit of work, most frequent first, then slowest first. */
export function topShapes(cost: CostLedger): ShapeCost[] {
  return [...(cost.shapes?.values() ?? [])].sort((a, b) => b.count - a.count || b.durationMs - a.durationMs);
}

function recordQueries(cost: CostLedger, withCallSites: boolean): QueriesCostRecord {
  const shapes = topShapes(cost);
  const other = cost.otherShapes?.count ?? 0;
  const most = withCallSites ? mostOf(shapes) : undefined;
  const kept = shapes.slice(0, MAX_SHAPES);
  return Object.freeze({
    count: cost.queries,
    errors: cost.errors,
    writes: cost.writes,
    transactions: cost.transactions,
    durationMs: roundMs(cost.durationMs),
    waitMs: roundMs(cost.waitMs),
    busyMs: roundMs(cost.busyMs),
    rows: cost.rows,
    bytes: cost.bytes,
    maxConcurrent: cost.maxConcurrent,
    late: cost.late,
    byTable: recordTables(cost),
    shapes: Object.freeze(kept.map(shape => recordShape(shape, cost, withCallSites, most?.includes(shape)))),
    shapesDropped: shapes.slice(MAX_SHAPES).reduce((sum, { count }) => sum + count, other),
  });
}

function recordTables(cost: CostLedger): Readonly<Record<string, TableCostRecord>> {
  const tables = Object.create(null) as Record<string, TableCostRecord>;
  for (const [table, { count, durationMs, rows }] of cost.tables ?? []) {
    tables[table] = Object.freeze({ count, durationMs: roundMs(durationMs), rows });
  }
  return Object.freeze(tables);
}

/** The slowest and the largest: those that a report may name although they do not repeat. */
function mostOf(shapes: readonly ShapeCost[]): ShapeCost[] {
  const [first, ...others] = shapes;
  if (first === undefined) return [];
  return (['durationMs', 'rows'] as const).map(by =>
    others.reduce((most, shape) => (shape[by] > most[by] ? shape : most), first),
  );
}

function recordShape(
  cost: ShapeCost,
  { history }: CostLedger,
  withCallSite: boolean,
  isMost = false,
): ShapeCostRecord {
  const first = isMost ? history?.siteOf(cost.key) : undefined;
  const callSite = withCallSite
    ? (repeatSiteOf(cost, history) ?? (first && describeCallSite(first)))
    : undefined;
  return Object.freeze({
    shape: cost.shape,
    ...(cost.table !== undefined && { table: cost.table }),
    count: cost.count,
    durationMs: roundMs(cost.durationMs),
    rows: cost.rows,
    ...(callSite !== undefined && { callSite }),
  });
}

/** Where a shape repeats: in this unit of work, or where others of its handler were looked at. */
function repeatSiteOf(
  { stack, key, count }: Pick<ShapeCost, 'key' | 'count'> & Partial<Pick<ShapeCost, 'stack'>>,
  history: GrowthHistory | undefined,
): string | undefined {
  const own = stack && callSitesOf(stack)[0];
  if (own !== undefined) return own;
  const site = count < CALL_SITE_AT_REPEAT ? undefined : history?.repeatSiteOf(key);
  return site && describeCallSite(site);
}
