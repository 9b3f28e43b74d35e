import type { ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { RequestContext } from '../context/request-context';
import { costEntry } from '../cost/remote-header';

const HEADER = 'server-timing';

type WriteHead = (this: ServerResponse, ...args: unknown[]) => ServerResponse;

/**
 * Answers where the time of a request went in `Server-Timing`, as it is when the head is written.
 *
 * https://www.w3.org/TR/server-timing/: names are tokens, durations are milliseconds. What the application
 * has put into the header stays.
 */
export function answerServerTiming(response: ServerResponse, context: RequestContext): void {
  const original = response.writeHead as WriteHead;
  let isAdded = false;
  // Both platforms, and Node itself for a head that nobody writes, end up here.
  response.writeHead = function (this: ServerResponse, ...args: unknown[]) {
    // It is called again for an error page when it has thrown.
    if (!isAdded && !this.headersSent) addHeader(this, args, context);
    isAdded = true;
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

/** `db;dur=41.2;desc="12 queries", pool;dur=3, app;dur=8.7, total;dur=54.1`: at most ten entries. */
export function serverTiming({ time, cost, startMs }: RequestContext): string {
  const now = performance.now();
  time.look(now);
  const { queries, http, cache, messages } = cost;
  return (
    entry('db', time.waitedMs('database'), queries, 'query', 'queries') +
    entry('pool', time.waitedMs('pool')) +
    entry('http', time.waitedMs('http'), http, 'request') +
    entry('cache', time.waitedMs('cache'), cache, 'command') +
    entry('messages', time.waitedMs('messages'), messages, 'message') +
    entry('slot', time.waitedMs('slot')) +
    entry('loop', time.stalledMs + time.unknownMs + time.starvedMs) +
    entry('app', time.ownMs) +
    costEntry(cost) +
    `total;dur=${tenths(now - startMs)}`
  );
}

/** Nothing for what took no time and was not asked for. */
function entry(name: string, ms: number, calls = 0, one = '', many = `${one}s`): string {
  if (calls > 0) return `${name};dur=${tenths(ms)};desc="${calls} ${calls === 1 ? one : many}", `;
  return tenths(ms) === 0 ? '' : `${name};dur=${tenths(ms)}, `;
}

/** A tenth of a millisecond is what a client can make use of. */
function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
