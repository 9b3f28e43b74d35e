import type { RepeatFinding } from '../cost/repeat-finding';
import { number } from './report-text';

/** What most queries of a unit of work come from, and what to do about it. */
export interface MainCause {
  /** `574 of its 636 queries are 10 N+1s, most on order_items`. */
  readonly text: string;
  readonly remedy: string;
}

/**
 * Whether N+1s that are proven make half of the queries and more, together: then they are what every report about
 * that unit of work says first, whatever it is about.
 */
export function mainCauseOf(findings: readonly RepeatFinding[], queries: number): MainCause | undefined {
  const proven = findings.filter(({ confidence }) => confidence === 'proven');
  const runs = proven.reduce((sum, { count }) => sum + count, 0);
  const largest = proven.reduce<RepeatFinding | undefined>(
    (most, one) => (most === undefined || one.count > most.count ? one : most),
    undefined,
  );
  if (largest === undefined || 2 * runs < queries) return undefined;
  const what = proven.length === 1 ? 'an N+1' : `${proven.length} N+1s, most`;
  const on = largest.table === undefined ? '' : ` on ${largest.table}`;
  return {
    text: `${number(runs)} of its ${number(queries)} queries are ${what}${on}`,
    remedy: largest.remedy,
  };
}
