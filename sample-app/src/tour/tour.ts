import type { CostRecord } from 'nestjs-async-context';
import { setTimeout as sleep } from 'node:timers/promises';

const SHOWN_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 20;

/** One thing that the package shows, with the request that makes it show. */
interface Stop {
  readonly title: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** How often it is sent, one after the other; no further than it takes. */
  readonly times?: number;
  /** Whether the record of a request is what was to be seen. */
  readonly isShown: (record: CostRecord) => boolean;
  /** What a record says that has no line in the log. */
  readonly say?: (record: CostRecord) => string;
}

const STOPS: readonly Stop[] = [
  {
    title: 'A handler that asks for the items of each order',
    method: 'GET',
    path: '/orders/one-by-one?count=60',
    isShown: ({ breaches, findings = [] }) =>
      breaches.length > 0 &&
      findings.some(({ kind, confidence }) => kind === 'n-plus-one' && confidence === 'proven'),
  },
  {
    title: 'The same orders, with their items at once',
    method: 'GET',
    path: '/orders?count=60',
    isShown: ({ breaches, queries }) => breaches.length === 0 && queries.count === 2,
    say: ({ handler, queries, durationMs }) =>
      `${handler}: ${queries.count} queries, ${queries.rows} rows, ${Math.round(durationMs)} ms. Nothing to report.`,
  },
  {
    title: 'A handler that blocks the event loop',
    method: 'GET',
    path: '/slow/rendering?ms=700',
    isShown: ({ breaches }) => breaches.some(({ dimension }) => dimension === 'loopBlockMs'),
  },
  {
    title: 'An import that is stopped at its hard limit, and rolled back',
    method: 'POST',
    path: '/guarded/import?count=60',
    isShown: ({ status, breaches }) => status === 503 && breaches.some(({ hard }) => hard === true),
  },
  {
    title: 'A caller who has spent what the handler allows',
    method: 'GET',
    path: '/guarded/search?count=25',
    times: 40,
    isShown: ({ refused }) => refused?.by === 'cost-limit',
  },
];

/** Sends one request after the other, and shows what each is about; gives the titles of what did not show. */
export async function takeTour(
  url: string,
  records: () => readonly CostRecord[],
  flush: () => Promise<void>,
  stop: AbortSignal,
): Promise<string[]> {
  const missing: string[] = [];
  for (const [i, one] of STOPS.entries()) {
    if (stop.aborted) break;
    console.log(`\n${i + 1}. ${one.title}: ${one.method} ${one.path}`);
    const shown = await show(one, url, records, flush, stop);
    if (shown === undefined) missing.push(one.title);
    else if (one.say !== undefined) console.log(`   ${one.say(shown)}`);
  }
  return missing;
}

async function show(
  { method, path, times = 1, isShown }: Stop,
  url: string,
  records: () => readonly CostRecord[],
  flush: () => Promise<void>,
  stop: AbortSignal,
): Promise<CostRecord | undefined> {
  const known = records().length;
  for (let i = 0; i < times && !stop.aborted; i++) {
    const response = await fetch(url + path, { method, headers: { 'x-user': 'ada' } });
    await response.arrayBuffer();
    // The record of a request is written after its response.
    const until = Date.now() + SHOWN_WITHIN_MS;
    while (records().length <= known + i && Date.now() < until && !stop.aborted) {
      await flush();
      await sleep(LOOK_EVERY_MS);
    }
    const shown = records().slice(known).find(isShown);
    if (shown !== undefined) return shown;
  }
  return undefined;
}
