import { cut, number, Report } from './report-text';

const SUBJECT_WIDTH = 120;

/** Reports of one kind that were held back in a minute. */
export interface HeldBack {
  readonly kind: string;
  /** What one of them is called; absent from an older copy of the package. */
  readonly one?: string | undefined;
  readonly count: number;
  /** What most of them speak of; nothing where there was no room to tell them apart. */
  worst: { readonly subject: string; readonly count: number; readonly mostMs: number } | undefined;
}

/** What was held back, as it is logged: one line, also in a text log. */
export function heldBackReport(held: readonly HeldBack[]): Report {
  const all = held.toSorted((a, b) => b.count - a.count);
  const heldBack = all.reduce((sum, { count }) => sum + count, 0);
  const headline =
    `${number(heldBack)} ${heldBack === 1 ? 'report was' : 'reports were'} held back in the last minute: ` +
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

function fieldsOf({ kind, count, worst }: HeldBack, i: number): Record<string, unknown> {
  const name = `held${i + 1}`;
  return {
    [`${name}.kind`]: kind,
    [`${name}.count`]: count,
    [`${name}.subject`]: worst && cut(worst.subject, SUBJECT_WIDTH),
    [`${name}.subjectCount`]: worst?.count,
    [`${name}.mostMs`]: worst && worst.mostMs > 0 ? Math.round(worst.mostMs) : undefined,
  };
}
