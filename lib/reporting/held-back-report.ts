import type { FieldsOfReport } from '../context/our-fields';
import { cut, number, Report } from './report-text';

const SUBJECT_WIDTH = 120;

/** Reports of one kind that were suppressed within a minute. */
export interface HeldBack {
  readonly kind: string;
  /** Singular of `kind`; absent in an older copy of the package. */
  readonly one?: string | undefined;
  readonly count: number;
  /** The most frequent subject; absent if there was no room to count subjects. */
  worst: { readonly subject: string; readonly count: number; readonly mostMs: number } | undefined;
}

/** The report on suppressed reports: one line, in a text log as well. */
export function heldBackReport(held: readonly HeldBack[]): Report {
  const all = held.toSorted((a, b) => b.count - a.count);
  const heldBack = all.reduce((sum, { count }) => sum + count, 0);
  const headline =
    `${number(heldBack)} ${heldBack === 1 ? 'report' : 'reports'} suppressed in the last minute: ` +
    all.map(describe).join('; ');
  return new Report(headline, [], { heldBack, ...Object.assign({}, ...all.map(fieldsOf)) });
}

function describe({ kind, one = kind, count, worst }: HeldBack): string {
  const all = `${number(count)} ${count === 1 ? one : kind}`;
  if (worst === undefined) return all;
  const most = worst.mostMs > 0 ? `, up to ${number(worst.mostMs)} ms` : '';
  const share = worst.count === count ? '' : `${number(worst.count)} of them `;
  return `${all} (${share}${cut(worst.subject, SUBJECT_WIDTH)}${most})`;
}

function fieldsOf({ kind, count, worst }: HeldBack, i: number): FieldsOfReport {
  const name = `held${i + 1}` as const;
  return {
    [`${name}.kind`]: kind,
    [`${name}.count`]: count,
    [`${name}.subject`]: worst && cut(worst.subject, SUBJECT_WIDTH),
    [`${name}.subjectCount`]: worst?.count,
    [`${name}.mostMs`]: worst && worst.mostMs > 0 ? Math.round(worst.mostMs) : undefined,
  };
}
