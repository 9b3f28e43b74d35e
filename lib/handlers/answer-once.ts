import type { ServerResponse } from 'node:http';
import { oncePerProcess } from '../kernel/once-per-process';
import { isThenable } from '../kernel/thenable';

/** What Nest gives the error of a route to. */
export interface ExceptionsHandler {
  filters?: { func(error: unknown, host: unknown): unknown }[];
  next(error: unknown, host: unknown): unknown;
}

/** Raw responses that filters were asked to answer for an unhandled error. */
const answered = oncePerProcess('answered', () => new WeakSet<object>());

function rawOf(response: object): ServerResponse {
  return 'writeHead' in response ? (response as ServerResponse) : (response as { raw: ServerResponse }).raw;
}

/** Whether an answer has left, or is on its way: Fastify's reply knows that first. */
export function hasBegun(response: object): boolean {
  const raw = rawOf(response);
  const { sent } = response as { sent?: boolean };
  return sent === true || raw.headersSent || raw.writableEnded || raw.destroyed;
}

/** Whether the request of an error that Nest has caught was answered already, for an unhandled error. */
export function isAnswered(host: unknown): boolean {
  const response = (host as { getArgByIndex?(index: number): unknown } | undefined)?.getArgByIndex?.(1);
  if (typeof response !== 'object' || response === null) return false;
  return answered.has(rawOf(response)) && hasBegun(response);
}

/**
 * Lets filters answer, and nobody after them: the work of the request goes on and may answer or
 * fail. On Express that is an error ("Cannot set headers after they are sent"), which filters that
 * answer it throw again, now out of a promise that nobody awaits.
 */
export function answerOnce(handler: ExceptionsHandler, response: object, answer: () => unknown): void {
  const raw = rawOf(response);
  for (const filter of handler.filters ?? []) {
    const { func } = filter;
    filter.func = (exception, host) => {
      const result = func(exception, host);
      // The request's own answer was faster than an asynchronous filter.
      return isThenable(result)
        ? result.then(undefined, failure => ignoreIfBegun(failure, response))
        : result;
    };
  }
  answer();
  answered.add(raw);
  if (raw.writableEnded) silence(raw);
  else raw.once('finish', () => silence(raw));
}

function ignoreIfBegun(failure: unknown, response: object): void {
  if (!hasBegun(response)) throw failure;
}

/** What is done to a response after its end does nothing, in place of throwing. */
function silence(raw: ServerResponse): void {
  for (const name of ['setHeader', 'appendHeader', 'removeHeader', 'writeHead', 'flushHeaders', 'end'])
    replace(raw, name, () => raw);
  replace(raw, 'write', () => true);
}

function replace(raw: ServerResponse, name: string, value: () => unknown): void {
  Object.defineProperty(raw, name, { value, writable: true, configurable: true });
}
