import type { RequestContext } from '../../context/request-context';
import type { ErrorOutline } from '../../kernel/error-outline';
import { headlineOf, moreOf, Report, type ReportLine } from '../../reporting/report-text';
import { requestFields, requestOf, workOf } from '../../reporting/request-of';

/** Origin of an error, as Node reports it. */
export type ErrorOrigin = 'uncaughtException' | 'unhandledRejection';

/** Outcome of the request. */
export type UnhandledErrorOutcome = 'answered' | 'waiting' | 'over';

const OUTCOMES: Readonly<Record<UnhandledErrorOutcome, string>> = {
  answered: 'was answered by its exception filters',
  waiting: 'is still waiting; forRoot({ answerUnhandledErrors: true }) would respond to it',
  over: 'had already ended, or its response had already started',
};

/** Report of an unhandled error, without its message. */
export class UnhandledErrorReport extends Report {
  constructor(
    context: RequestContext,
    error: ErrorOutline,
    origin: ErrorOrigin,
    outcome: UnhandledErrorOutcome | undefined,
    suppressed: number,
  ) {
    const fix = fixOf(error, origin);
    const lines: ReportLine[] = [
      ['error', `${classOf(error)}, ${origin === 'unhandledRejection' ? 'rejected' : 'thrown'}${at(error)}`],
      ['fix', fix],
      ...(outcome === undefined ? [] : [['answer', `the request ${OUTCOMES[outcome]}`] as const]),
      ['request', requestOf(context) + moreOf(suppressed)],
    ];
    super(headline(context, error), lines, {
      ...requestFields(context),
      error: error.name,
      code: error.code,
      at: error.place,
      origin,
      outcome,
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

function at({ place }: ErrorOutline): string {
  return place === undefined ? '' : ` at ${place}`;
}

function fixOf({ place }: ErrorOutline, origin: ErrorOrigin): string {
  if (origin === 'uncaughtException')
    return "catch it in the callback, listen for 'error' on the emitter, or await the promise version of the call";
  const what = 'await the promise, return it, or add a catch()';
  return place === undefined ? `${what}; reject with an Error, so that the report can show a stack` : what;
}
