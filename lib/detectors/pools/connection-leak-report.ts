import type { LeaseState } from '../../cost/pool-wait';
import type { RequestContext } from '../../context/request-context';
import { describeCallSite } from '../../kernel/call-site';
import type { OrmName } from '../../kernel/package-frames';
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
  /** What has acquired it for the application, if known. */
  readonly via: OrmName | undefined;
  readonly outlivedMs: number;
  readonly heldMs: number;
}

const RELEASE = 'release it in a finally block';
const UNDO = 'its transaction is still open: ROLLBACK in a catch block, and release it in a finally block';
const RELEASE_RUNNER = 'call queryRunner.release() in a finally block';
const UNDO_RUNNER =
  'its transaction is still open: call queryRunner.rollbackTransaction() in a catch block, and queryRunner.release() in a finally block';
const AWAIT = 'await the statement or close the cursor before responding; if it is not needed, cancel it';

/** Report of a connection that was not released. */
export function describeLeak(context: RequestContext, leak: ConnectionLeak, suppressed: number): Report {
  const { driver, lease, line } = leak;
  const { state, statement } = lease;
  const outlivedMs = Math.round(leak.outlivedMs);
  const headline = headlineOf(
    `${nameOf(context)} has not released a ${driver} connection ${number(outlivedMs)} ms after its request ended`,
    context.requestId,
  );
  // The statement and its call site say more than a line that many statements share.
  const site = statement && context.handler?.history.siteOf(statement.shape);
  const fix = fixOf(state, leak.via ?? site?.via);
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

function fixOf(state: LeaseState, via: OrmName | undefined): string {
  if (state === 'running') return AWAIT;
  if (via === 'typeorm') return state === 'idle' ? RELEASE_RUNNER : UNDO_RUNNER;
  return state === 'idle' ? RELEASE : UNDO;
}
