import type { ServerResponse } from 'node:http';
import type { RequestContext } from '../context/request-context';
import { recordTime } from '../cost/time-record';

const HEADER = 'server-timing';
const MS_DIGITS = 1;

type WriteHead = (this: ServerResponse, ...args: unknown[]) => ServerResponse;

/**
 * Answers where the time of a request went in `Server-Timing`, as it is when the head is written.
 *
 * https://www.w3.org/TR/server-timing/: names are tokens, durations are milliseconds. What the application
 * has put into the header stays.
 */
export function answerServerTiming(response: ServerResponse, context: RequestContext): void {
  const original = response.writeHead as WriteHead;
  // Both platforms, and Node itself for a head that nobody writes, end up here.
  response.writeHead = function (this: ServerResponse, ...args: unknown[]) {
    if (!this.headersSent) addHeader(this, args, context);
    return original.apply(this, args);
  } as ServerResponse['writeHead'];
}

function addHeader(response: ServerResponse, args: unknown[], context: RequestContext): void {
  try {
    const own = serverTiming(context);
    const given = args.at(-1);
    const name =
      typeof given === 'object' && given !== null && !Array.isArray(given)
        ? Object.keys(given).find(key => key.toLowerCase() === HEADER)
        : undefined;
    if (name !== undefined) {
      const headers = given as Record<string, unknown>;
      args[args.length - 1] = { ...headers, [name]: [headers[name], own].flat().join(', ') };
      return;
    }
    const before = response.getHeader(HEADER);
    response.setHeader(HEADER, before === undefined ? own : [before, own].flat().join(', '));
  } catch {
    // A response that takes no more headers goes out without this one.
  }
}

/** `db;dur=41.2;desc="12 queries", pool;dur=3.0, app;dur=8.7`: at most eight entries. */
export function serverTiming(context: RequestContext): string {
  context.time.look(performance.now());
  const time = recordTime(context.time);
  const { queries, http, cache, messages } = context.cost;
  return [
    entry('db', time.databaseMs, count(queries, 'query', 'queries')),
    entry('pool', time.poolMs),
    entry('http', time.httpMs, count(http, 'request', 'requests')),
    entry('cache', time.cacheMs, count(cache, 'command', 'commands')),
    entry('messages', time.messagesMs, count(messages, 'message', 'messages')),
    entry('loop', time.stalledMs),
    entry('app', time.ownMs),
    `total;dur=${context.elapsedMs.toFixed(MS_DIGITS)}`,
  ]
    .filter(one => one !== undefined)
    .join(', ');
}

function entry(name: string, ms: number, description?: string): string | undefined {
  if (ms === 0 && description === undefined) return undefined;
  const text = `${name};dur=${ms.toFixed(MS_DIGITS)}`;
  return description === undefined ? text : `${text};desc="${description}"`;
}

function count(calls: number, one: string, many: string): string | undefined {
  return calls === 0 ? undefined : `${calls} ${calls === 1 ? one : many}`;
}
