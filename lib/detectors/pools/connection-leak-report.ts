import type { RequestContext } from '../../context/request-context';
import { describeCallSite } from '../../kernel/call-site';
import { headlineOf, moreOf, number, Report, type ReportLine } from '../../reporting/report-text';
import { type Lease, nameOf } from './lease';
import { describeStatement } from './pool-wait-report';
import { requestFields, requestOf } from '../../reporting/request-of';

/** A connection that has outlived its request. */
export interface ConnectionLeak {
  readonly driver: string;
  readonly lease: Lease;
  /** Where it was acquired, if known. */
  readonly line: string | undefined;
  readonly outlivedMs: number;
  readonly heldMs: number;
}

const RELEASE = 'release it in a finally block (TypeORM: queryRunner.release())';
const AWAIT = 'await the statement or close the cursor before responding; if it is not needed, cancel it';

/** Report of a connection that was not released. */
export function describeLeak(context: RequestContext, leak: ConnectionLeak, suppressed: number): Report {
  const { driver, lease, line } = leak;
  const { state, statement } = lease;
  const fix = state === 'running' ? AWAIT : RELEASE;
  const outlivedMs = Math.round(leak.outlivedMs);
  const headline = headlineOf(
    `${nameOf(context)} has not released a ${driver} connection ${number(outlivedMs)} ms after its request ended`,
    context.requestId,
  );
  // The statement and its call site say more than a line that many statements share.
  const site = statement && context.handler?.history.siteOf(statement.shape);
  const lines: ReportLine[] = [
    [
      'acquired',
      `${line === undefined ? 'at an unknown line' : `at ${line}`}, held for ${number(Math.round(leak.heldMs))} ms`,
    ],
    [
      'statement',
      describeStatement({ state, shape: statement?.shape }) + (site ? ` (${describeCallSite(site)})` : ''),
    ],
    ['fix', fix],
    ['request', requestOf(context) + moreOf(suppressed)],
  ];
  return new Report(headline, lines, {
    ...requestFields(context),
    driver,
    outlivedMs,
    heldMs: Math.round(leak.heldMs),
    acquiredAt: line,
    state,
    shape: statement?.shape,
    fix,
    suppressed,
  });
}
