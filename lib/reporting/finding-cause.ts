import type { RepeatFinding, RepeatParent } from '../cost/repeat-finding';
import { at, cut, number, type ReportLine } from './report-text';

/** The main problem of a unit of work and its remedy: all reports about that unit of work name the same. */
export interface MainCause {
  /** For a headline: `an N+1 on order_items`. */
  readonly text?: string;
  /** Evidence: at most three lines. */
  readonly lines: readonly ReportLine[];
  readonly fix: string;
}

const WIDTH = 100;
const WRITE = /^(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b/i;
const WRITE_IN_WITH = /^WITH\b.*\b(?:INSERT INTO|DELETE FROM|SET)\b/;

/**
 * If proven N+1s together make up at least half of the queries, they are the main cause that every report about that
 * unit of work names first.
 */
export function causeOfRepeats(findings: readonly RepeatFinding[], queries: number): MainCause | undefined {
  const proven = findings.filter(({ confidence }) => confidence === 'proven');
  const runs = proven.reduce((sum, { count }) => sum + count, 0);
  const [first, ...others] = proven.toSorted((a, b) => b.count - a.count);
  if (first === undefined || 2 * runs < queries) return undefined;
  const cause = causeOfFinding(first);
  return others.length === 0 ? cause : { ...cause, text: `${proven.length} N+1s, most${on(first)}` };
}

export function causeOfFinding(finding: RepeatFinding): MainCause {
  return { text: textOfFinding(finding), lines: linesOfFinding(finding), fix: finding.remedy };
}

function textOfFinding(finding: RepeatFinding): string {
  const { kind, shape, count, duplicates } = finding;
  if (kind === 'n-plus-one') return `an N+1${on(finding)}`;
  if (kind === 'duplicate')
    return `${number(duplicates)} of ${number(count)} reads${on(finding)} are duplicates`;
  const what =
    kind === 'look-ups' ? 'sequential look-ups' : `parallel ${isWrite(shape) ? 'writes' : 'queries'}`;
  return `${number(count)} ${what}${on(finding)}`;
}

/** Whether a shape writes; a record does not tell. */
export function isWrite(shape: string): boolean {
  return WRITE.test(shape) || WRITE_IN_WITH.test(shape);
}

function on({ table }: { readonly table?: string | undefined }): string {
  return table === undefined ? '' : ` on ${table}`;
}

/** In one sentence: `an N+1 on order_items, 22 queries at orders.service.ts:44 items`. */
export function describeFinding(finding: RepeatFinding): string {
  const { kind, count, callSite } = finding;
  const runs = kind === 'n-plus-one' ? `, ${number(count)} queries` : '';
  return `${textOfFinding(finding)}${runs}${callSite === undefined ? '' : ` at ${callSite}`}`.replace(
    ' at in ',
    ' in ',
  );
}

/** As its first line has it. */
export function shapeOfFinding({ shape }: RepeatFinding): string {
  return cut(shape, WIDTH);
}

/** `60 × SELECT … WHERE order_id = ?    orders.service.ts:44 items`, and below it what it ran for. */
export function linesOfFinding({
  kind,
  shape,
  count,
  duplicates,
  parents,
  callSite,
}: RepeatFinding): ReportLine[] {
  const lines: ReportLine[] = [[`${number(count)} ×`, `${cut(shape, WIDTH)}${at(callSite)}`]];
  if (kind === 'duplicate') lines.push(['', `${number(duplicates)} of them with repeated parameters`]);
  else if (kind === 'fan-out') lines.push(['', 'all at once']);
  else if (kind === 'look-ups') lines.push(['', 'one by one']);
  else for (const parent of parents.slice(0, 2)) lines.push(['', `one for each ${sourceOf(parent)}`]);
  return lines;
}

/** `orders.id of SELECT … FROM orders    orders.service.ts:39 latest` */
function sourceOf({ table, column = 'row', shape, callSite }: RepeatParent): string {
  const isWhole = table === undefined || column === 'row' || column.includes('.');
  return `${isWhole ? column : `${table}.${column}`} of ${cut(shape, WIDTH)}${at(callSite)}`;
}
