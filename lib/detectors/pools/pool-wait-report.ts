import type { FieldsOfReport } from '../../context/our-fields';
import { cutShape } from '../../sql/shown-shape';
import type { RequestContext } from '../../context/request-context';
import { causeOfRepeats, type MainCause } from '../../reporting/finding-cause';
import { headlineOf, moreOf, number, Report, type ReportLine } from '../../reporting/report-text';
import { nameOf } from './lease';
import type { HeldStatement, PoolHolder, PoolWait } from '../../cost/pool-wait';
import { requestFields, requestOf } from '../../reporting/request-of';

/** If at least this many waiting calls, and most of them, belong to one unit of work, it causes the wait itself. */
const FAN_OUT = 5;
const TOP_HOLDERS = 3;
const SHAPE_WIDTH = 100;

/** What is known of a wait that has not ended. */
interface WaitFacts {
  readonly suppressed: number;
  /** The line that asks for the connection, where it holds one already. */
  readonly asksAt: string | undefined;
  /** Milliseconds in which no connection of the pool was given out. */
  readonly stillMs?: number | undefined;
}

/** Report of a wait for a connection that has not ended: a headline and at most six lines. */
export function describeWait(context: RequestContext, wait: PoolWait, facts: WaitFacts): Report {
  const { suppressed, asksAt, stillMs } = facts;
  const { cost } = context;
  const isOfRepeats = wait.own === 0 && isFanOut(wait);
  const repeats = isOfRepeats ? causeOfRepeats(cost.findings(), cost.queries) : undefined;
  const cause = repeats ?? causeOfWait(wait);
  const headline = headlineOf(`${nameOf(context)} ${describeWaiting(wait, 'has waited')}`, context.requestId);
  const lines: ReportLine[] = [
    ...cause.lines
      .slice(0, 3)
      .map(([label, text]): ReportLine => [
        label,
        label === 'itself' && asksAt !== undefined ? `${text}, and asks for another at ${asksAt}` : text,
      ]),
    ...(stillMs === undefined
      ? []
      : [['pool', `no connection was given out for ${number(Math.round(stillMs))} ms`] as const]),
    ['fix', cause.fix],
    ['request', requestOf(context) + moreOf(suppressed)],
  ];
  return new Report(headline, lines, {
    ...requestFields(context),
    ...fieldsOfWait(wait),
    asksAt,
    stillMs: stillMs && Math.round(stillMs),
    cause: cause.text,
    fix: cause.fix,
    suppressed,
  });
}

/** `waited 612 ms for a pg connection: all 10 in use, 4 calls waiting` */
export function describeWaiting(wait: PoolWait, waited: string): string {
  const { driver, size, held, waiting, ownWaiting } = wait;
  // A pool that is not full is opening connections.
  const why = `${held} of ${size} in use`;
  const own = isFanOut(wait) ? `, ${ownWaiting} of them its own` : '';
  return (
    `${waited} ${number(Math.round(wait.waitedMs))} ms for a ${driver} connection: ` +
    `${why}, ${waiting} ${waiting === 1 ? 'call' : 'calls'} waiting${own}`
  );
}

/** The holders that it waits for. */
export function causeOfWait(wait: PoolWait): MainCause {
  const { own, ownWaiting, holders } = wait;
  const lines = holders.slice(0, 2).map(lineOfHolder);
  if (wait.stalledMs !== undefined) lines.unshift(lineOfStall(wait.stalledMs, wait.stalledBy));
  if (own > 0) lines.unshift(['itself', `holds ${own} of them while it waits`]);
  else if (isFanOut(wait)) lines.unshift(['itself', `requests ${ownWaiting} connections at once`]);
  return { lines, fix: fixOf(wait) };
}

function lineOfStall(ms: number, who: string | undefined): ReportLine {
  const what =
    who === undefined
      ? 'the event loop was blocked, or other processes used the CPU'
      : `${who} blocked the event loop`;
  return ['stalled', `${number(Math.round(ms))} ms more: ${what}`];
}

/** The same as flat fields. */
export function fieldsOfWait(wait: PoolWait): FieldsOfReport {
  const { driver, size, held, waiting, own, ownWaiting, holders } = wait;
  const waitedMs = Math.round(wait.waitedMs);
  const { stalledMs, stalledBy } = wait;
  const fields: FieldsOfReport = {
    driver,
    waitedMs,
    stalledMs: stalledMs && Math.round(stalledMs),
    stalledBy,
    size,
    held,
    waiting,
    own,
    ownWaiting,
  };
  return Object.assign(fields, ...holders.slice(0, TOP_HOLDERS).map(fieldsOf)) as typeof fields;
}

/** `between statements, last: SELECT …` */
export function describeStatement({ state, shape }: Omit<HeldStatement, 'connections'>): string {
  const text = shape && cutShape(shape, SHAPE_WIDTH);
  if (text === undefined) return 'before the first statement';
  if (state === 'running') return `in ${text}`;
  return `${state === 'idle' ? 'between statements' : 'idle in a transaction'}, last: ${text}`;
}

export function lineOfHolder({
  handler,
  connections,
  closed,
  minHeldMs,
  maxHeldMs,
  statements,
}: PoolHolder): ReportLine {
  const [min, max] = [number(Math.round(minHeldMs)), number(Math.round(maxHeldMs))];
  const time = min === max ? `${max} ms` : `${min} to ${max} ms`;
  const over = closed === 0 ? '' : `, ${closed} of them after their request ended`;
  const what = statements.map(one =>
    statements.length === 1 ? describeStatement(one) : `${one.connections} × ${describeStatement(one)}`,
  );
  return ['holder', `${handler}, ${connections} for ${time}${over}: ${what.join('; ')}`];
}

function fieldsOf({ statements, ...holder }: PoolHolder, i: number): FieldsOfReport {
  const fields: Record<`holder${number}.${string}`, unknown> = {};
  const [{ state, shape } = { state: undefined, shape: undefined }] = statements;
  for (const [name, value] of Object.entries({ ...holder, state, shape }))
    fields[`holder${i + 1}.${name}`] = value;
  return fields;
}

/** Whether most waiting calls belong to one unit of work that requests many connections at once. */
export function isFanOut({ ownWaiting, waiting }: PoolWait): boolean {
  return ownWaiting >= FAN_OUT && 2 * ownWaiting > waiting;
}

function fixOf(wait: PoolWait): string {
  const { size, held, own, ownWaiting, holders } = wait;
  if (own > 0) {
    return 'use the connection that the request already holds, or release it first: requests that hold one connection while waiting for another deadlock, and a larger pool only postpones that';
  }
  if (isFanOut(wait)) {
    return `it requests ${ownWaiting} connections at once: fetch all rows in one query (IN (…), a JOIN), or run only a few queries at a time`;
  }
  const idle = holders.find(holder => holder.statements.some(({ state }) => state === 'idle in transaction'));
  if (idle !== undefined) {
    return `${idle.handler} does other work in an open transaction: move that work before BEGIN or after COMMIT`;
  }
  const leaking = holders.find(
    ({ closed, statements }) => closed > 0 && statements.some(({ state }) => state === 'idle'),
  );
  if (leaking !== undefined) {
    return `${leaking.handler} keeps connections after its request ended: release them in a finally block`;
  }
  if (held < size) {
    return 'the pool is not full, so opening a connection is slow: check the server and its connection limit';
  }
  const [first] = holders;
  if (first === undefined) return `increase the pool size (${size})`;
  return `make ${first.handler} release its connections sooner, or increase the pool size (${size})`;
}
