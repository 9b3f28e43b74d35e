import { cutShape } from '../../cost/shown-shape';
import type { RequestContext } from '../../context/request-context';
import { mainCauseOf } from '../main-cause';
import { number, Report, type ReportLine } from '../report-text';
import { nameOf } from './holding';
import type { HeldStatement, PoolHolder, PoolWait } from '../../cost/pool-wait';
import { requestFields, requestOf } from '../request-of';

/** So many calls of one unit of work that wait at once are its own doing, where they are most of those that wait. */
const FAN_OUT = 5;
const TOP_HOLDERS = 3;
const SHAPE_WIDTH = 160;

/** A wait for a connection, as it is logged. */
export function describeWait(context: RequestContext, wait: PoolWait, suppressed: number): Report {
  const { driver, size, held, waiting, own, ownWaiting, holders } = wait;
  const waitedMs = Math.round(wait.waitedMs);
  const why =
    held < size
      ? `its ${driver} pool is opening connections (${held} of ${size} in use)`
      : `${held} of ${size} connections of its ${driver} pool in use`;
  const headline =
    `${nameOf(context)} has waited ${number(waitedMs)} ms for a connection: ` +
    `${why}, ${waiting} ${waiting === 1 ? 'call' : 'calls'} waiting` +
    (isFanOut(wait) ? `, ${ownWaiting} of them its own` : '');
  const cause = isFanOut(wait) ? mainCauseOf(context.cost.findings(), context.cost.queries) : undefined;
  const next = wait.own > 0 ? nextStep(wait) : (cause?.remedy ?? nextStep(wait));
  const lines: ReportLine[] = [
    ['request', requestOf(context)],
    ...(cause === undefined ? [] : [['cause', cause.text] as const]),
    ...holders.map((holder, i): ReportLine => [`holder ${i + 1}`, describeHolder(holder)]),
    ['next', next],
  ];
  if (own > 0) lines.splice(1, 0, ['itself', `holds ${own} of them while it waits`]);
  else if (isFanOut(wait)) lines.splice(1, 0, ['itself', `asks for ${ownWaiting} connections at once`]);
  if (suppressed > 0) lines.push(['more', `${number(suppressed)} were not logged since the last one`]);
  return new Report(headline, lines, {
    ...requestFields(context),
    driver,
    waitedMs,
    size,
    held,
    waiting,
    own,
    ownWaiting,
    cause: cause?.text,
    ...Object.assign({}, ...holders.slice(0, TOP_HOLDERS).map(fieldsOf)),
    next,
    suppressed,
  });
}

/** `between statements, last: SELECT …` */
export function describeStatement({ state, shape }: Omit<HeldStatement, 'connections'>): string {
  const text = shape && cutShape(shape, SHAPE_WIDTH);
  if (text === undefined) return 'before the first statement';
  if (state === 'running') return `in ${text}`;
  return `${state === 'idle' ? 'between statements' : 'idle in a transaction'}, last: ${text}`;
}

function describeHolder({
  handler,
  connections,
  closed,
  minHeldMs,
  maxHeldMs,
  statements,
}: PoolHolder): string {
  const [min, max] = [number(Math.round(minHeldMs)), number(Math.round(maxHeldMs))];
  const time = min === max ? `${max} ms` : `${min} to ${max} ms`;
  const over = closed === 0 ? '' : `, ${closed} of them after the end of the request`;
  const what = statements.map(one =>
    statements.length === 1 ? describeStatement(one) : `${one.connections} × ${describeStatement(one)}`,
  );
  return `${handler}, ${connections} for ${time}${over}: ${what.join('; ')}`;
}

function fieldsOf({ statements, ...holder }: PoolHolder, i: number): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const [{ state, shape } = { state: undefined, shape: undefined }] = statements;
  for (const [name, value] of Object.entries({ ...holder, state, shape }))
    fields[`holder${i + 1}.${name}`] = value;
  return fields;
}

/** Whether those who wait are for the most part one unit of work that asks for many connections at once. */
function isFanOut({ ownWaiting, waiting }: PoolWait): boolean {
  return ownWaiting >= FAN_OUT && 2 * ownWaiting > waiting;
}

function nextStep(wait: PoolWait): string {
  const { size, held, own, ownWaiting, holders } = wait;
  if (own > 0) {
    return 'Use the connection that the request already holds, or release it first: requests that each hold one and wait for another deadlock.';
  }
  if (isFanOut(wait)) {
    return `It asks for ${ownWaiting} connections at once: fetch all rows with one query (IN (…), a JOIN), or run a few at a time.`;
  }
  const idle = holders.find(holder => holder.statements.some(({ state }) => state === 'idle in transaction'));
  if (idle !== undefined) {
    return `${idle.handler} does other work while its transaction is open: do it before BEGIN or after COMMIT.`;
  }
  const leaking = holders.find(
    ({ closed, statements }) => closed > 0 && statements.some(({ state }) => state === 'idle'),
  );
  if (leaking !== undefined) {
    return `${leaking.handler} keeps connections after its request has ended: release them in a finally block.`;
  }
  if (held < size) {
    return 'The pool is not full, so opening a connection is slow: check the server and its connection limit.';
  }
  const [first] = holders;
  if (first === undefined) return `Make the pool larger than ${size}.`;
  return `Have ${first.handler} release its connections sooner, or make the pool larger than ${size}.`;
}
