import type { CostLedger } from './cost-ledger';
import type { RemoteCost } from './remote-ledger';

/** Longer than all that a browser shows; ours has at most ten entries. */
const MAX_LENGTH = 4_096;
const MAX_VALUE = 1e12;
const ENTRY =
  /(?:^|,)[ \t]*nac;dur=(\d{1,13}(?:\.\d)?);desc="(\d{1,13}) queries (\d{1,13}) rows"[ \t]*(?=,|$)/g;

/**
 * The entry of `Server-Timing` that another service of this library reads: queries, rows and database time of
 * this unit of work and of those it has asked, so that the one on top sees all. Nothing but numbers is in it;
 * nothing is said where there was no query.
 */
export function costEntry(cost: CostLedger): string {
  const queries = cost.queries + cost.remoteQueries;
  if (queries === 0) return '';
  const ms = Math.round((cost.durationMs + (cost.remote?.durationMs ?? 0)) * 10) / 10;
  return `nac;dur=${Math.min(ms, MAX_VALUE)};desc="${queries} queries ${cost.rows + cost.remoteRows} rows", `;
}

/** What a `Server-Timing` says of the cost; of several entries the last, which the service itself has added. */
export function readCost(serverTiming: string): RemoteCost | undefined {
  if (serverTiming.length > MAX_LENGTH) return undefined;
  const last = [...serverTiming.matchAll(ENTRY)].at(-1);
  if (last === undefined) return undefined;
  const [durationMs = 0, queries = 0, rows = 0] = last.slice(1).map(Number);
  if (Math.max(durationMs, queries, rows) > MAX_VALUE) return undefined;
  return { queries, rows, durationMs };
}
