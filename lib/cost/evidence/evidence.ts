import type { ShapeCost } from '../shape-cost';
import type { Candidate } from './candidate';
import { judge, mayConfirm } from './judge';
import { type Columns, ResultsOfUnit } from './kept-results';
import { addGiven, comparedBy, type Given } from './given-values';
import { type ColumnName, entityOf } from './key-names';
import type { ReadsValues } from './operation-values';
import { placesOf } from './places';
import type { StatementNames } from './statement-names';
import { Trail } from './trail';
import type { UnitOfRows } from './unit-of-rows';
import { hashKey, type Key } from './value-key';
import { ValueMatch } from './value-match';
import { type Asked, isChain, type Verdict, verdictOf } from './verdict';

/** Runs before anything is looked at. */
const MIN_RUNS = 3;
/** Values of one key, asked for one after the other, that are worth a word without a parent. */
export const MIN_LOOK_UPS = 5;

/** What earlier units of work of a handler have shown, as hashes. */
export interface Confirmations {
  /** Whether another unit of work followed the same column with other values. */
  isConfirmed(candidate: number, values: number): boolean;
  noteValues(candidate: number, values: number): void;
}

/**
 * Cells that are searched in one unit of work, 5 to 60 ns each: an application of 600 queries with 40 shapes that
 * repeat beside 50 lists of 15 rows and 45 columns takes as many. Beyond, only what was found is followed.
 */
const MAX_CELLS_SEARCHED = 2_000_000;

/** What is to be said of most units of work. */
const NO_VERDICTS: ReadonlyMap<ShapeCost, Verdict> = new Map();

/** A key that a statement was asked for by, one value after the other. */
export interface LookUps {
  readonly column: string;
  readonly values: number;
}

/** What a unit of work has of its statements. */
export interface ShapesOfUnit {
  readonly shapes: ReadonlyMap<string, ShapeCost> | undefined;
  readonly otherShapes: ShapeCost | undefined;
}

/** One of the first two runs of a statement. */
interface EarlyRun {
  readonly shape: ShapeCost;
  readonly text: string | ReadsValues;
  readonly parameters: unknown;
  readonly at: number;
  readonly target: object | undefined;
}

/**
 * Where the values of the statements of one unit of work come from.
 *
 * It keeps parameters and rows by reference until `release()`, compares them in memory, and says nothing of them
 * but which column they are of. It never throws: where it fails, it knows nothing more.
 */
export class Evidence implements UnitOfRows {
  readonly parents: ShapeCost[] = [];
  cellsLeft = MAX_CELLS_SEARCHED;
  readonly #of: ShapesOfUnit;
  // What most units of work have no further use for is only noted: it is sorted by statement at the first third run.
  #runs: EarlyRun[] = [];
  readonly #results: ResultsOfUnit = new ResultsOfUnit();
  /** Statements that ran three times, and those that something is held of. */
  readonly #repeated: ShapeCost[] = [];
  readonly #trailed: ShapeCost[] = [];
  #entities: { readonly at: number; readonly names: ReadonlySet<string | undefined> } | undefined = undefined;
  #isDone = false;
  /** A getter of the application's, for one: from then on it knows nothing. */
  #hasFailed = false;
  /** What was to be said when it was released. */
  #verdicts: ReadonlyMap<ShapeCost, Verdict> | undefined = undefined;
  #lookUps: ReadonlyMap<ShapeCost, LookUps> | undefined = undefined;
  #refuted: ReadonlySet<ShapeCost> | undefined = undefined;

  constructor(of: ShapesOfUnit) {
    this.#of = of;
  }

  /**
   * Says that a statement is about to run, and is counted. The first two times nothing is looked at.
   *
   * @param text what is sent; of an operation that has no text, what reads its values off `parameters`
   * @param target what stands for the database that is asked, where that is known
   */
  ran(shape: ShapeCost, text: string | ReadsValues | undefined, parameters: unknown, target?: object): void {
    if (this.#isDone || text === undefined) return;
    if (shape.count < MIN_RUNS) {
      this.#runs.push({ shape, text, parameters, at: this.#results.clock, target });
      return;
    }
    // Statements that are counted as one are not followed as one.
    if (shape === this.#of.otherShapes) return;
    try {
      this.#match(shape, text, parameters, target);
    } catch {
      this.#isDone = this.#hasFailed = true;
    }
  }

  /** Says which rows it has returned: objects, or arrays with the names of their columns. */
  answered(shape: ShapeCost, rows: readonly unknown[], columns: Columns | undefined, query?: object): void {
    if (this.#isDone || rows.length === 0) return;
    try {
      this.#results.add(shape, rows, columns, query);
    } catch {
      this.#isDone = this.#hasFailed = true;
    }
  }

  /** For whose rows a statement ran; `undefined` where its values do not say so. */
  of(shape: ShapeCost, history: Confirmations | undefined): Verdict | undefined {
    if (this.#verdicts !== undefined) return this.#verdicts.get(shape);
    return this.#hasFailed ? undefined : this.#judge(shape, history, new Map());
  }

  /** The one key that a statement was asked for by, value after value, where no result has them. */
  lookUpsOf(shape: ShapeCost): LookUps | undefined {
    if (this.#lookUps !== undefined) return this.#lookUps.get(shape);
    const match = shape.trail?.match;
    if (match === undefined || this.#hasFailed || shape.kind !== 'read' || shape.maxConcurrent > 1)
      return undefined;
    const found = match.lookUp;
    return found !== undefined && found.values >= MIN_LOOK_UPS && !match.isFollowed ? found : undefined;
  }

  /**
   * Whether the values of a statement speak against it that it ran for the rows of others: it asked for several at
   * once, for a page, always for the same, or for what no result has.
   */
  refutes(shape: ShapeCost, parents: readonly ShapeCost[]): boolean {
    if (this.#refuted === undefined ? this.#speaksAgainst(shape) : this.#refuted.has(shape)) return true;
    // An UPDATE of four rows has returned none that a loop could run over.
    return this.#seesAll && parents.every(parent => parent.keptResults === 0);
  }

  /** Tells the history of the handler which columns were followed, and by what: hashes. */
  teach(history: Confirmations): void {
    for (const shape of this.#repeated) {
      for (const candidate of shape.trail?.match?.candidates ?? []) {
        const { share, isOfRows } = candidate;
        if (!isOfRows || !mayConfirm(candidate, share)) continue;
        if (judge(candidate, share, () => true) === undefined) continue;
        history.noteValues(numberOf(shape, candidate), candidate.hash);
      }
    }
  }

  /** Lets go of all rows and values; what is to be said of them stays. */
  release(history: Confirmations | undefined): void {
    if (this.#verdicts !== undefined) return;
    // Before the rest, which may fail.
    this.#isDone = true;
    this.#results.release();
    this.#verdicts = NO_VERDICTS;
    try {
      if (this.#repeated.length > 0) this.#remember(history);
    } finally {
      this.#runs = [];
      for (const shape of this.#trailed) shape.trail = undefined;
    }
  }

  namesOf(parent: ShapeCost): StatementNames | undefined {
    const trail = this.#trailOf(parent);
    const text = trail.text ?? this.#runs.find(({ shape }) => shape === parent)?.text;
    return typeof text === 'string' ? (trail.names ??= placesOf(text)) : undefined;
  }

  isTable(entity: string): boolean {
    const { size = 0 } = this.#of.shapes ?? {};
    if (this.#entities?.at !== size) {
      const names = new Set<string | undefined>();
      for (const { table } of this.#of.shapes?.values() ?? []) names.add(entityOf(table));
      this.#entities = { at: size, names };
    }
    return this.#entities.names.has(entity);
  }

  #remember(history: Confirmations | undefined): void {
    const verdicts = new Map<ShapeCost, Verdict>();
    const lookUps = new Map<ShapeCost, LookUps>();
    const refuted = new Set<ShapeCost>();
    this.#verdicts = undefined;
    for (const shape of this.#repeated) {
      const verdict = this.of(shape, history);
      const lookUp = this.lookUpsOf(shape);
      if (verdict !== undefined)
        verdicts.set(shape, { confidence: verdict.confidence, parents: verdict.parents });
      if (lookUp !== undefined) lookUps.set(shape, lookUp);
      if (this.#speaksAgainst(shape)) refuted.add(shape);
    }
    this.#verdicts = verdicts;
    this.#lookUps = lookUps;
    this.#refuted = refuted;
  }

  /** Whether it has kept all rows that there were. */
  get #seesAll(): boolean {
    return this.#results.clock > 0 && !this.#results.isCut;
  }

  #speaksAgainst(shape: ShapeCost): boolean {
    const match = shape.trail?.match;
    if (match === undefined || this.#hasFailed) return false;
    const { runs, batches, withoutPlace } = match;
    if (match.isOfSession || match.isOfManyTargets || batches + withoutPlace > runs) return true;
    if (runs >= MIN_RUNS && match.isConstant) return true;
    if (isChain(shape, match, this.#askedBy(undefined, new Map([[shape, undefined]])))) return true;
    return this.#seesAll && match.isFromElsewhere;
  }

  #match(
    shape: ShapeCost,
    text: string | ReadsValues,
    parameters: unknown,
    target: object | undefined,
  ): void {
    this.#sort();
    const match = this.#trailOf(shape).match ?? this.#begin(shape, parameters);
    match.run(text, parameters, this.#results.clock, target);
    match.search();
  }

  /** Begins to follow a statement, with the two runs that it has had. */
  #begin(shape: ShapeCost, parameters: unknown): ValueMatch {
    const match = new ValueMatch(shape, this);
    const trail = this.#trailOf(shape);
    const early = this.#runs.filter(run => run.shape === shape);
    trail.match = match;
    trail.text = early[0]?.text;
    this.#repeated.push(shape);
    for (const [i, run] of early.entries()) {
      // An array that is filled anew for each run says only what it held last.
      const next = early[i + 1]?.parameters ?? parameters;
      if (!isObject(next) || next !== run.parameters) match.run(run.text, run.parameters, run.at, run.target);
    }
    return match;
  }

  /** Gives each statement the results that have come since the last time. */
  #sort(): void {
    for (const result of this.#results.takeNew()) {
      const { results } = this.#trailOf(result.shape);
      if (results.list.length === 0) this.parents.push(result.shape);
      results.add(result);
    }
  }

  #trailOf(shape: ShapeCost): Trail {
    if (shape.trail === undefined) {
      shape.trail = new Trail(shape);
      this.#trailed.push(shape);
    }
    return shape.trail;
  }

  /** What the runs of a statement were given: its first two runs, and each later one as far as it is followed. */
  #givenTo(shape: ShapeCost): Given {
    const trail = this.#trailOf(shape);
    const runs = shape.count;
    if (trail.given?.runs === runs) return trail.given;
    const values = new Set<Key>();
    const columns = new Set<ColumnName>();
    for (const run of this.#runs) {
      if (run.shape !== shape) continue;
      try {
        addGiven(values, run.text, run.parameters);
      } catch {
        // A proxy of the application's.
      }
      for (const column of comparedBy(run.text)) columns.add(column);
    }
    for (const { keys, name } of trail.match?.slots ?? []) {
      columns.add(name);
      for (const key of keys) if (key !== undefined) values.add(key);
    }
    const given = { runs, values, columns: [...columns] };
    trail.given = given;
    return given;
  }

  /** @param known verdicts of this question so far: each is found once, whichever way leads to its statement */
  #judge(
    shape: ShapeCost,
    history: Confirmations | undefined,
    known: Map<ShapeCost, Verdict | undefined>,
  ): Verdict | undefined {
    const match = shape.trail?.match;
    if (match === undefined || match.isOfManyTargets || known.has(shape)) return known.get(shape);
    // While it is being judged, nothing is known of it.
    known.set(shape, undefined);
    const verdict = verdictOf(shape, match, this.#askedBy(history, known));
    known.set(shape, verdict);
    return verdict;
  }

  #askedBy(history: Confirmations | undefined, known: Map<ShapeCost, Verdict | undefined>): Asked {
    return {
      of: other => this.#judge(other, history, known),
      givenTo: other => this.#givenTo(other),
      isConfirmed: (shape, candidate) =>
        history?.isConfirmed(numberOf(shape, candidate), candidate.hash) === true,
    };
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** What tells a candidate from others in the history of a handler. */
function numberOf(shape: ShapeCost, { parent, column }: Candidate): number {
  return hashKey(shape.shape, hashKey(parent.shape, hashKey(`${column.name}.${column.inner ?? ''}`)));
}
