import type { ShapeCost } from '../shape-cost';
import { cellOf, ColumnIndex, ROWS, type SourceColumn } from './column-index';
import type { KeptResult, KeptResults } from './kept-results';
import { type ColumnName, isOwnKey, type NameClass } from './key-names';
import type { Slot } from './slots';
import { bitsOf, gapOf, hashKey, isDate, type Key, keyOf } from './value-key';

/** Runs that are told apart, for what two parents explain together. */
export const MAX_TOLD_APART = 64;
/** Of the values of a result that is cut: from then on a value that is not found may be of its other rows. */
const NEARLY_ALL = 0.9;

/** Rows that a loop may leave out between two runs. */
const MAX_LEFT_OUT = 4;

/** The bits of a sequence of keys. */
class Surprise {
  bits = 0;
  /** Of the first one and the first gap: 8, 15, 22 is no counter, though each gap is that before it. */
  head = 0;
  #last: Key | undefined = undefined;
  #gap: number | undefined = undefined;

  add(key: Key): void {
    this.bits += bitsOf(key, this.#last, this.#gap);
    if (typeof key === 'number' && this.#gap === undefined) {
      const from = typeof this.#last === 'number' ? this.#last : 0;
      this.head += Math.log2(Math.max(1, Math.abs(key - from)));
    }
    this.#gap = gapOf(key, this.#last);
    this.#last = key;
  }
}

/** A column that the values of a statement may come from, and how the runs so far follow it. */
export class Candidate {
  /** Runs since the first result, and those whose value was in an earlier one. */
  runs = 0;
  matched = 0;
  /** Different values that were matched, and how many of them follow the one before down or up the rows. */
  distinct = 0;
  /** The same for the same values, in whatever order. */
  hash = 0;
  hasDate = false;
  /** Which runs matched, as two words of 32. */
  low = 0;
  high = 0;
  readonly #index: ColumnIndex;
  readonly #met = new Set<Key>();
  readonly #byResult: number[] = [];
  /** When the runs that matched began, of those that are told apart. */
  readonly #matchedAt: number[] = [];
  #most = 0;
  #withTwo = 0;
  #down = 0;
  #up = 0;
  #place = -1;
  readonly #ofValues = new Surprise();
  readonly #ofRuns = new Surprise();
  /** The row that the next run is for, if each is for the row after that of the run before. */
  #nextResult = 0;
  #nextRow = 0;
  #isInStep = true;
  #steps = 0;

  /**
   * @param name what the column is called in the table that it is of
   * @param parent whose results it is of
   */
  constructor(
    readonly slot: Slot,
    readonly parent: ShapeCost,
    readonly column: SourceColumn,
    readonly name: ColumnName,
    readonly nameClass: NameClass,
    readonly results: KeptResults,
  ) {
    this.#index = new ColumnIndex(column, results);
  }

  /** Adds a run; `at` is when it ran, `number` which one of those that are told apart. */
  observe(key: Key, at: number, number: number): void {
    const { list, isCut } = this.results;
    if ((list[0] as KeptResult).at > at) return;
    const place = this.#index.get(key);
    if (this.#isInStep) this.#step(key);
    const result = place === undefined ? undefined : list[Math.floor(place / ROWS)];
    if (place === undefined || result === undefined || result.at > at) {
      if (isCut && this.distinct >= NEARLY_ALL * this.#index.size) return;
      this.runs += 1;
      return;
    }
    this.runs += 1;
    this.matched += 1;
    if (number < 32) this.low |= 1 << number;
    else if (number < MAX_TOLD_APART) this.high |= 1 << (number - 32);
    if (this.#matchedAt.length < MAX_TOLD_APART) this.#matchedAt.push(at);
    if (this.#met.has(key)) return;
    this.#met.add(key);
    this.#meet(key, place);
  }

  /**
   * How surprising the values are, in bits: the different ones; or all of them, repeated ones as well, where the runs
   * keep step with the rows.
   */
  get bits(): number {
    return this.#isInStep ? Math.max(this.#ofRuns.bits, this.#ofValues.bits) : this.#ofValues.bits;
  }

  /** The same with where they begin, for who follows the rows in their order. */
  get bitsInOrder(): number {
    return this.bits + this.#ofValues.head;
  }

  /** Whether a few values may be what they are because there are no more: each role of the users, once. */
  get isOfFew(): boolean {
    return this.#index.hasRepeats && this.matched === this.distinct && !isOwnKey(this.name);
  }

  /** The values that were matched, of the runs that are told apart. */
  get matchedKeys(): Key[] {
    const isMatched = (number: number): boolean =>
      ((number < 32 ? this.low >>> number : this.high >>> (number - 32)) & 1) === 1;
    return this.slot.keys.filter((key, number): key is Key => key !== undefined && isMatched(number));
  }

  /** When its first result came. */
  get since(): number {
    return (this.results.list[0] as KeptResult).at;
  }

  /** Share of the runs that matched which began at a moment or later. */
  shareSince(at: number): number {
    const later = this.#matchedAt.filter(began => began >= at);
    return this.#matchedAt.length === 0 ? 0 : later.length / this.#matchedAt.length;
  }

  /** Share of the runs whose value came from the column. */
  get share(): number {
    return this.runs === 0 ? 0 : this.matched / this.runs;
  }

  /** Share of the values of the column that were asked for. */
  get coverage(): number {
    return this.#index.size === 0 ? 0 : this.distinct / this.#index.size;
  }

  /** Share of the values that follow the one before in the rows, or that all precede it. */
  get order(): number {
    return this.distinct < 2 ? 1 : Math.max(this.#down, this.#up) / (this.distinct - 1);
  }

  /** Whether one result gave several of the values, rather than each result one: that is a chain. */
  get isOfRows(): boolean {
    if (this.#most >= 3 || this.#withTwo >= 2) return true;
    // Few authors of many comments: values that come again are met once only, but each row had its run.
    const results = this.#nextResult + (this.#nextRow > 0 ? 1 : 0);
    const queries = results === 0 ? 0 : this.results.queryOf(results - 1) + 1;
    return this.#isInStep && this.#steps >= queries + 2;
  }

  /** Goes on to the row of a run: the next one, or one of those after it where a loop leaves some out. */
  #step(key: Key): void {
    const { list } = this.results;
    for (let tried = 0; tried < MAX_LEFT_OUT && this.#nextResult < list.length; tried++) {
      const result = list[this.#nextResult] as KeptResult;
      const position = this.results.namesOf(result).indexOf(this.column.name);
      const cell = cellOf(result.rows[this.#nextRow], this.column.name, position);
      if ((this.#nextRow += 1) >= result.rows.length) {
        this.#nextResult += 1;
        this.#nextRow = 0;
      }
      if (keyOf(cell) !== key) continue;
      this.#steps += 1;
      this.#ofRuns.add(key);
      return;
    }
    this.#isInStep = false;
  }

  #meet(key: Key, place: number): void {
    this.distinct += 1;
    this.#ofValues.add(key);
    this.hash = (this.hash + hashKey(key)) | 0;
    this.hasDate ||= isDate(key);
    if (this.#place >= 0) {
      if (place > this.#place) this.#down += 1;
      else this.#up += 1;
    }
    this.#place = place;
    const result = this.results.queryOf(Math.floor(place / ROWS));
    const here = (this.#byResult[result] ?? 0) + 1;
    this.#byResult[result] = here;
    if (here === 2) this.#withTwo += 1;
    if (here > this.#most) this.#most = here;
  }
}
