import {
  ConsoleLogger,
  type ConsoleLoggerOptions,
  Injectable,
  type LogLevel,
  Optional,
  Scope,
} from '@nestjs/common';
import {
  fieldsOfLine,
  type LogFieldNames,
  type NamedFields,
  readFieldNames,
  renameFields,
} from './log-field-names';
import type { LogValue } from '../context/own-log-fields';
import { contextLogFields } from './log-fields';
import { oneWord } from '../kernel/one-line';
import { type ReportLevel, TAKES_REPORTS, type TakesReports } from './report-logger';
import { type Report, shortId } from './report-text';

type JsonOptions = Parameters<ConsoleLogger['getJsonLogObject']>[1];

/** Options of Nest's `ConsoleLogger`, and the names of the context fields. */
export interface ContextLoggerOptions extends ConsoleLoggerOptions {
  readonly fieldNames?: LogFieldNames;
  /**
   * Whether a text line begins with its message and ends with `req a8576eb9 OrdersController.list`, for people.
   * Otherwise all fields precede the message, for `grep`. No effect in JSON mode.
   * @default whether standard output is a terminal
   */
  readonly short?: boolean;
}

/** Those of the application alone. */
const NO_NAMES: NamedFields = [];
const DIM = ['\u001b[2m', '\u001b[22m'] as const;

/**
 * Nest's `ConsoleLogger` with the request id, trace id, span id, user id and handler on each line that a unit of
 * work writes; in JSON mode as separate fields.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid name in `fieldNames`
 * @example
 * const app = await NestFactory.create(AppModule, { logger: new ContextLogger({ json: true }) });
 */
@Injectable({ scope: Scope.TRANSIENT })
export class ContextLogger extends ConsoleLogger implements TakesReports {
  readonly #named: NamedFields;
  readonly #isShort: boolean;
  /** Facts of the report that is being written. */
  #facts: Report['fields'] | undefined;

  /** Same as `ConsoleLogger`: the name of the logger, the options, or both. */
  constructor(
    @Optional() contextOrOptions?: string | ContextLoggerOptions,
    @Optional() options?: ContextLoggerOptions,
  ) {
    const given = typeof contextOrOptions === 'object' ? contextOrOptions : options;
    const isTerminal = process.stdout.isTTY === true;
    const colors = given?.json !== true && isTerminal && !process.env['NO_COLOR'];
    const all = { ...given, colors: given?.colors ?? colors };
    // Nest declares the two as overloads.
    if (typeof contextOrOptions === 'string') super(contextOrOptions, all);
    else super(all);
    this.#named = readFieldNames(given?.fieldNames, 'ContextLogger');
    this.#isShort = given?.short ?? isTerminal;
  }

  /** @internal */
  [TAKES_REPORTS](level: ReportLevel, report: Report, context: string): void {
    const isJson = this.options.json === true;
    this.#facts = renameFields(report.fields, this.#named);
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

  protected override stringifyMessage(message: unknown, level: LogLevel): string {
    // The headline of a report names the request itself.
    if (!this.#isShort || this.options.json === true || this.#facts !== undefined)
      return super.stringifyMessage(message, level) as string;
    const end = typeof message === 'string' ? message.indexOf('\n') : -1;
    if (end === -1) return `${super.stringifyMessage(message, level)}${this.#tail()}`;
    const [first, rest] = [(message as string).slice(0, end), (message as string).slice(end + 1)];
    return `${super.stringifyMessage(first, level)}${this.#tail()}\n${super.stringifyMessage(rest, level)}`;
  }

  protected override formatContext(context: string): string {
    if (this.#isShort) return super.formatContext(context);
    const text = this.#fields().map(([name, value]) => `${name}=${oneWord(String(value))}`);
    if (text.length === 0) return super.formatContext(context);
    return `${super.formatContext(context)}[${text.join(' ')}] `;
  }

  #tail(): string {
    const fields = contextLogFields();
    if (fields === undefined) return '';
    const { requestId, handler } = fields;
    const words = [`req ${oneWord(shortId(requestId))}`];
    if (handler !== undefined) words.push(oneWord(handler));
    for (const [name, value] of fieldsOfLine(fields, NO_NAMES))
      words.push(`${name}=${oneWord(String(value))}`);
    const text = words.join(' ');
    return this.options.colors === true ? `    ${DIM.join(text)}` : `    ${text}`;
  }

  #fields(): [name: string, value: LogValue][] {
    const fields = contextLogFields();
    return fields === undefined ? [] : fieldsOfLine(fields, this.#named);
  }
}
