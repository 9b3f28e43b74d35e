import { ConsoleLogger, type ConsoleLoggerOptions, Injectable, Optional, Scope } from '@nestjs/common';
import { type LogFieldNames, type NamedFields, readFieldNames } from './log-field-names';
import { contextLogFields } from './log-fields';
import { oneWord } from '../kernel/one-line';
import { type ReportLevel, TAKES_REPORTS, type TakesReports } from './report-logger';
import type { Report } from './report-text';

type JsonOptions = Parameters<ConsoleLogger['getJsonLogObject']>[1];

/** Options of Nest's `ConsoleLogger`, and what the fields of the unit of work are called. */
export interface ContextLoggerOptions extends ConsoleLoggerOptions {
  readonly fieldNames?: LogFieldNames;
}

/**
 * Nest's `ConsoleLogger` with request id, trace id, span id, user id and handler on each line that a unit
 * of work writes; as fields of their own in JSON mode.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a name in `fieldNames` that cannot be
 * @example
 * const app = await NestFactory.create(AppModule, { logger: new ContextLogger({ json: true }) });
 */
@Injectable({ scope: Scope.TRANSIENT })
export class ContextLogger extends ConsoleLogger implements TakesReports {
  readonly #named: NamedFields;
  /** Facts of the report that is being written. */
  #facts: Report['fields'] | undefined;

  /** As of `ConsoleLogger`: the name of the logger, the options, or both. */
  constructor(
    @Optional() contextOrOptions?: string | ContextLoggerOptions,
    @Optional() options?: ContextLoggerOptions,
  ) {
    // Nest declares the two as overloads and takes them as they come.
    super(contextOrOptions as string, options as ContextLoggerOptions);
    const given = typeof contextOrOptions === 'object' ? contextOrOptions : options;
    this.#named = readFieldNames(given?.fieldNames, 'ContextLogger');
  }

  /** @internal */
  [TAKES_REPORTS](level: ReportLevel, report: Report, context: string): void {
    const isJson = this.options.json === true;
    this.#facts = isJson ? report.fields : undefined;
    try {
      this[level](isJson ? report.headline : report.text, context);
    } finally {
      this.#facts = undefined;
    }
  }

  protected override getJsonLogObject(message: unknown, options: JsonOptions) {
    const line: Record<string, unknown> = super.getJsonLogObject(message, options);
    for (const [name, value] of Object.entries(this.#facts ?? {})) line[name] ??= value;
    for (const [name, value] of this.#fields()) line[name] ??= value;
    return line as ReturnType<ConsoleLogger['getJsonLogObject']>;
  }

  protected override formatContext(context: string): string {
    const text = this.#fields().map(([name, value]) => `${name}=${oneWord(value)}`);
    if (text.length === 0) return super.formatContext(context);
    return `${super.formatContext(context)}[${text.join(' ')}] `;
  }

  #fields(): [name: string, value: string][] {
    const fields = contextLogFields();
    if (fields === undefined) return [];
    return this.#named.flatMap(([field, name]) => {
      const value = fields[field];
      return value === undefined ? [] : [[name, value] as [string, string]];
    });
  }
}
