import { createHash } from 'node:crypto';
import type { CostRecord, RepeatFinding } from 'nestjs-async-context';
import type { Label, LabelledHandler, ListRequest } from './labelled-handler';
import type { Answer } from './labelled-app';

/** A list of fewer rows is no matter, and an N+1 of it nobody's duty to see; it is asked for its history. */
export const LEAST_ROWS = 6;

export const halves = ['tune', 'held-out'] as const;
export type Half = (typeof halves)[number];

/** Whoever tunes the detector looks at one half, and reports the other. */
export function halfOf({ name }: LabelledHandler): Half {
  return createHash('md5').update(name).digest()[0]! % 2 === 0 ? 'tune' : 'held-out';
}

/** What is read of a finding; the detector of old knew neither confidence nor column. */
type Finding = Pick<RepeatFinding, 'table' | 'shape'> & {
  readonly kind: string;
  readonly confidence?: 'proven' | 'suspected';
  readonly parents: readonly { readonly table?: string; readonly column?: string }[];
};

const bare = (table = ''): string => table.slice(table.lastIndexOf('.') + 1);

export const findingsOf = (record: CostRecord): readonly Finding[] => record.findings ?? [];
const isNPlusOne = ({ kind }: Finding): boolean => kind === 'n-plus-one';
const isProven = ({ confidence = 'proven' }: Finding): boolean => confidence === 'proven';

/** Whether a name in a result is that column: TypeORM calls it `Order_id`, Sequelize `Items.id`, a path of JSON goes on. */
function isColumn(found: string, column: string): boolean {
  const asAlias = new RegExp(`^(?:[A-Z][A-Za-z]*_+|[a-z]\\d*_|\\w+\\.)+${column}$`);
  return found === column || found.startsWith(`${column}.`) || asAlias.test(found);
}

function fits(finding: Finding, label: Label): boolean {
  const isOne = (
    table: string | undefined,
    column: string | undefined,
    columns: readonly string[],
  ): boolean =>
    columns.some(one => {
      const [rightTable, rightColumn] = one.split('.');
      return bare(table) === rightTable && (column === undefined || isColumn(column, rightColumn!));
    });
  // Two columns of one parent are one (`buyer_id, seller_id`).
  const isRight = ({ table, column }: Finding['parents'][number], columns: readonly string[]): boolean =>
    (column?.split(', ') ?? [undefined]).every(one => isOne(table, one, columns));
  return (
    label.tables.includes(bare(finding.table)) &&
    finding.parents.every(parent => label.parents.some(columns => isRight(parent, columns))) &&
    label.parents.every(columns => finding.parents.some(parent => isRight(parent, columns)))
  );
}

/** The labels that hold for one request: none where it was asked for little, or went another way. */
export function labelsOf({ repeats, quiet }: LabelledHandler, request: ListRequest): readonly Label[] {
  return quiet?.(request) ? [] : repeats;
}

interface Verdict {
  readonly right: number;
  readonly missed: readonly string[];
  readonly wrong: readonly string[];
}

const describeLabel = ({ tables, parents }: Label): string =>
  `${tables.join(' or ')} for ${parents.map(columns => columns.join(' or ')).join(' and ')}`;

const describeFinding = ({ table, parents }: Finding): string =>
  `${bare(table)} for ${parents.map(({ table, column }) => [bare(table), column].filter(Boolean).join('.')).join(' and ')}`;

/** Holds the proven findings of a request against its labels; nothing where it is not judged. */
export function judge({ handler, request, record }: Answer): Verdict | undefined {
  const labels = labelsOf(handler, request);
  if (labels.length > 0 && request.size < LEAST_ROWS) return undefined;
  const found = findingsOf(record).filter(isNPlusOne);
  const undecided = handler.undecided ?? [];
  const proven = found.filter(finding => isProven(finding) && !undecided.includes(bare(finding.table)));
  const wrong = proven.filter(finding => !labels.some(label => fits(finding, label)));
  const missed = labels.filter((label, i) => {
    // Two shapes of one table have two findings.
    const before = labels.slice(0, i).filter(one => describeLabel(one) === describeLabel(label)).length;
    return proven.filter(finding => fits(finding, label)).length <= before;
  });
  const suspected = found.filter(finding => !isProven(finding));
  return {
    right: labels.length - missed.length,
    missed: missed.map(label => {
      const isSuspected = suspected.some(finding => label.tables.includes(bare(finding.table)));
      return `${describeLabel(label)}${isSuspected ? ' (suspected)' : ''}`;
    }),
    wrong: wrong.map(describeFinding),
  };
}

/** Sums of some answers. */
export class Score {
  requests = 0;
  /** Requests that were accused of what they have not. */
  accused = 0;
  right = 0;
  missed = 0;
  wrong = 0;

  add({ right, missed, wrong }: Verdict): void {
    this.requests += 1;
    this.accused += wrong.length > 0 ? 1 : 0;
    this.right += right;
    this.missed += missed.length;
    this.wrong += wrong.length;
  }

  get precision(): number {
    return this.right + this.wrong === 0 ? 1 : this.right / (this.right + this.wrong);
  }

  get recall(): number {
    return this.right + this.missed === 0 ? 1 : this.right / (this.right + this.missed);
  }
}

/** Scores by whatever they are printed by, and the misses by handler. */
export class Scores {
  readonly #by = new Map<string, Score>();
  readonly #hookErrors = new Map<string, Map<string, number>>();

  add(answer: Answer, ...groups: readonly string[]): void {
    const verdict = judge(answer);
    if (verdict === undefined) return;
    for (const group of groups) this.of(group).add(verdict);
    for (const text of verdict.missed) this.#note(answer, `missed ${text}`);
    for (const text of verdict.wrong) this.#note(answer, `false  ${text}`);
  }

  of(group: string): Score {
    let score = this.#by.get(group);
    if (score === undefined) this.#by.set(group, (score = new Score()));
    return score;
  }

  /** A line for each group whose name begins so. */
  table(title: string, prefix: string): string {
    const lines = [...this.#by]
      .filter(([group]) => group.startsWith(prefix))
      .map(([group, { requests, accused, right, missed, precision, recall }]) => {
        const cells = [group.slice(prefix.length).padEnd(48), `${accused} of ${requests} accused`];
        if (right + missed === 0) return cells.join(' ');
        return [
          cells[0],
          cells[1]!.padEnd(22),
          `${right} of ${right + missed} N+1 named`.padEnd(26),
          `precision ${precision.toFixed(3)}, recall ${recall.toFixed(3)}`,
        ].join(' ');
      });
    return [title, ...lines.toSorted().map(line => `  ${line}`)].join('\n');
  }

  /** Each handler that was judged wrongly, with how often. */
  get hookErrors(): string[] {
    return [...this.#hookErrors].flatMap(([handler, texts]) =>
      [...texts].map(([text, times]) => `${handler}: ${times} × ${text}`),
    );
  }

  #note({ handler }: Answer, text: string): void {
    const name = `[${halfOf(handler)}] ${handler.name}`;
    let texts = this.#hookErrors.get(name);
    if (texts === undefined) this.#hookErrors.set(name, (texts = new Map<string, number>()));
    texts.set(text, (texts.get(text) ?? 0) + 1);
  }
}
