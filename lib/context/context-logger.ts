import { ConsoleLogger, Injectable, Scope } from '@nestjs/common';
import { contextLogFields } from './log-fields';

type JsonOptions = Parameters<ConsoleLogger['getJsonLogObject']>[1];

/**
 * Nest's `ConsoleLogger` with request id, trace id, user id and handler on each line that a unit
 * of work writes; as fields of their own in JSON mode.
 *
 * @example
 * const app = await NestFactory.create(AppModule, { logger: new ContextLogger({ json: true }) });
 */
@Injectable({ scope: Scope.TRANSIENT })
export class ContextLogger extends ConsoleLogger {
  protected override getJsonLogObject(message: unknown, options: JsonOptions) {
    return { ...super.getJsonLogObject(message, options), ...contextLogFields() };
  }

  protected override formatContext(context: string): string {
    const fields = Object.entries(contextLogFields() ?? {});
    if (fields.length === 0) return super.formatContext(context);
    const text = fields.map(([name, value]) => `${name}=${oneWord(String(value))}`).join(' ');
    return `${super.formatContext(context)}[${text}] `;
  }
}

/** A user id must not be able to look like another field or another line. */
function oneWord(value: string): string {
  return /^[\w.:=+/@-]{1,200}$/.test(value) ? value : JSON.stringify(value.slice(0, 200));
}
