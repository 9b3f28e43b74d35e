import type { RequestContext } from '../../context/request-context';
import { number, Report, type ReportLine } from '../report-text';
import { nameOf } from './holding';
import type { HeldStatement, PoolHolder, PoolWait } from './pool-wait';
import { requestFields, requestOf } from '../request-of';

const TOP_HOLDERS = 3;
const SHAPE_WIDTH = 160;

/** A wait for a connection, as it is logged. */
export function describeWait(context: RequestContext, wait: PoolWait, suppressed: number): Report {
  const { driver, size, held, waiting, own, holders } = wait;
  const waitedMs = Math.round(wait.waitedMs);
  const headline =
    `${nameOf(context)} has waited ${number(waitedMs)} ms for a connection: ` +
    `${held} of ${size} connections of its ${driver} pool in use, ${waiting} ${waiting === 1 ? 'call' : 'calls'} waiting`;
  const next = nextStep(wait);
  const lines: ReportLine[] = [
    ['request', requestOf(context)],
    ...holders.map((holder, i): ReportLine => [`holder ${i + 1}`, describeHolder(holder)]),
    ['next', next],
  ];
  if (own > 0) lines.splice(1, 0, ['itself', `holds ${own} of them while it waits`]);
  if (suppressed > 0) lines.push(['more', `${number(suppressed)} were not logged since the last one`]);
  return new Report(headline, lines, {
    ...requestFields(context),
    driver,
    waitedMs,
    size,
    held,
    waiting,
    own,
    ...Object.assign({}, ...holders.slice(0, TOP_HOLDERS).map(fieldsOf)),
    next,
    suppressed,
  });
}

/** `between statements, last: SELECT …` */
export function describeStatement({ state, shape }: Omit<HeldStatement, 'connections'>): string {
  const text = shape !== undefined && shape.length > SHAPE_WIDTH ? `${shape.slice(0, SHAPE_WIDTH)}…` : shape;
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

function nextStep({ size, held, own, holders }: PoolWait): string {
  if (own > 0) {
    return 'Use the connection that the request already holds, or release it first: requests that each hold one and wait for another deadlock.';
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
