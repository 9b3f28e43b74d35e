import { Logger } from '@nestjs/common';
import { sharedName } from '../kernel/protocol';
import { fieldNamesOf, renameFields } from './log-field-names';
import type { Report } from './report-text';

export type ReportLevel = 'debug' | 'log' | 'warn' | 'error';

/** On a logger that accepts the headline and the fields of a report separately: `ContextLogger`. */
export const TAKES_REPORTS: unique symbol = Symbol.for(sharedName('takes reports')) as never;

export interface TakesReports {
  [TAKES_REPORTS](level: ReportLevel, report: Report, context: string): void;
}

/** What distinguishes the loggers that accept fields; all others get a text. */
interface KnownLogger extends Partial<TakesReports> {
  /** Of Nest's `ConsoleLogger`, which prints facts beside the text from Nest 12 on. */
  readonly options?: { readonly json?: boolean; readonly structuredParams?: boolean };
  readonly stringifyParams?: unknown;
  /** Of both loggers of `nestjs-pino`. */
  readonly contextName?: unknown;
  readonly call?: unknown;
  /** Of its `NativeLogger`. */
  readonly structuredParams?: boolean;
  /** Of `nest-winston`. */
  readonly getWinstonLogger?: unknown;
}

/**
 * Writes reports to the application's logger: the headline as the message, the facts as fields if the logger accepts
 * fields, and nothing twice.
 *
 * Nest's own `ConsoleLogger` prints each further argument as a line, or as an object behind the text. So a text log
 * gets a single text that includes the lines below the headline.
 */
export class ReportLogger {
  readonly #name: string;
  readonly #logger: Logger;

  constructor(name: string) {
    this.#name = name;
    this.#logger = new Logger(name);
  }

  write(level: ReportLevel, report: Report): void {
    const target = this.#logger.localInstance as KnownLogger | undefined;
    if (typeof target?.[TAKES_REPORTS] === 'function') {
      target[TAKES_REPORTS](level, report, this.#name);
      return;
    }
    const [message, ...rest] = argumentsOf(report, target ?? {});
    this.#logger[level](message, ...rest);
  }

  warn(report: Report): void {
    this.write('warn', report);
  }

  error(report: Report): void {
    this.write('error', report);
  }
}

function argumentsOf(report: Report, target: KnownLogger): readonly [unknown, ...unknown[]] {
  const { headline, fields } = report;
  if (typeof target.getWinstonLogger === 'function')
    return [{ message: headline, ...renameFields(fields, fieldNamesOf('winston')) }];
  if (typeof target.contextName === 'string' && typeof target.call === 'function') {
    const named = renameFields(fields, fieldNamesOf('pino'));
    if (target.structuredParams === undefined) return [named, headline];
    return target.structuredParams ? [headline, named] : [report.text];
  }
  const { json, structuredParams = true } = target.options ?? {};
  // In text mode it would print the facts behind the lines that say the same.
  if (json === true && structuredParams && typeof target.stringifyParams === 'function')
    return [headline, fields];
  return [report.text];
}
