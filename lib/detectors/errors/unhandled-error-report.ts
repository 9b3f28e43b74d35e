import type { RequestContext } from '../../context/request-context';
import type { ErrorOutline } from '../../kernel/error-outline';
import { headlineOf, moreOf, Report, type ReportLine } from '../../reporting/report-text';
import { requestFields, requestOf, workOf } from '../../reporting/request-of';

/** Origin of an error, as Node reports it. */
export type ErrorOrigin = 'uncaughtException' | 'unhandledRejection';

/** Outcome of the request. */
export type UnhandledErrorOutcome = 'answered' | 'waiting' | 'over';

const ENDS = 'Node ends it now (exit code 1), and with it every other request';
const ANSWER = 'forRoot({ answerUnhandledErrors: true }) would respond to it';
const OUTCOMES: Readonly<Record<UnhandledErrorOutcome, string>> = {
  answered: 'was answered by its exception filters',
  waiting: `is still waiting; ${ANSWER}`,
  over: 'had already ended, or its response had already started',
};

/** What becomes of the request, and of the process. */
export interface UnhandledErrorFate {
  readonly outcome: UnhandledErrorOutcome | undefined;
  /** Whether Node ends it, as nobody listens. */
  readonly endsProcess: boolean;
}

/** Report of an unhandled error, without its message. */
export class UnhandledErrorReport extends Report {
  constructor(
    context: RequestContext,
    error: ErrorOutline,
    origin: ErrorOrigin,
    { outcome, endsProcess }: UnhandledErrorFate,
    suppressed: number,
  ) {
    const fix = fixOf(error, origin);
    const lines: ReportLine[] = [
      ['error', `${classOf(error)}, ${origin === 'unhandledRejection' ? 'rejected' : 'thrown'}${at(error)}`],
      ...(endsProcess ? [['process', ENDS] as const] : []),
      ['fix', fix],
      ...(outcome === undefined ? [] : [['answer', answerOf(outcome, endsProcess)] as const]),
      ['request', requestOf(context) + moreOf(suppressed)],
    ];
    super(headline(context, error), lines, {
      ...requestFields(context),
      'error.type': error.name,
      'error.code': error.code,
      at: error.place,
      origin,
      outcome,
      endsProcess,
      fix,
      suppressed,
    });
  }
}

function headline(context: RequestContext, error: ErrorOutline): string {
  return headlineOf(
    `Unhandled error in ${workOf(context)}: ${classOf(error)}${at(error)}`,
    context.requestId,
  );
}

function classOf({ name, code }: ErrorOutline): string {
  return code === undefined ? name : `${name} (${code})`;
}

/** The answer saves nothing but the one client. */
function answerOf(outcome: UnhandledErrorOutcome, endsProcess: boolean): string {
  if (outcome === 'waiting' && endsProcess)
    return `the request gets none; ${ANSWER}, but the process would still end`;
  return `the request ${OUTCOMES[outcome]}`;
}

function at({ place }: ErrorOutline): string {
  return place === undefined ? '' : ` at ${place}`;
}

function fixOf({ place }: ErrorOutline, origin: ErrorOrigin): string {
  if (origin === 'uncaughtException')
    return "catch it in the callback, listen for 'error' on the emitter, or await the promise version of the call";
  const what = 'await the promise, return it, or add a catch()';
  return place === undefined ? `${what}; reject with an Error, so that the report can show a stack` : what;
}
