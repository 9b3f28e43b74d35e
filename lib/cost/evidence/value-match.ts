import type { ShapeCost } from '../shape-cost';
import { Candidate, MAX_TOLD_APART } from './candidate';
import { isReadable } from './value-key';
import { classOf, isKeyName, NAME_CLASSES } from './key-names';
import { literalsOf } from './literal-pattern';
import { ownValue } from './nested-values';
import { MANY_ROWS, placesOfFields, type ReadsValues } from './operation-values';
import { type Place, placesOf, type StatementPlaces } from './places';
import type { SourceColumn } from './column-index';
import { columnsWith } from './search';
import { type Slot, keyOfSlot, noteRecent, slotsOf } from './slots';
import { nameOfSource } from './source-names';
import { isCount } from './statement-names';
import type { UnitOfRows } from './unit-of-rows';

/** Runs after which the results are searched, again and again at twice as many. */
const FIRST_SEARCH = 3;
const MAX_CANDIDATES = 12;
/** A loop over tenants, rather than over the shards of one. */
const MANY_TARGETS = 3;
/** So many different values are looked for, and so many of them make a candidate of a column. */
const MIN_KEYS = 3;
const MIN_FOUND = 2;
/** What it takes to begin a search in the results of a statement, in cells. */
const CELLS_OF_SEARCH = 30;

/** Follows the values of one statement as it runs. */
export class ValueMatch {
  readonly candidates: Candidate[] = [];
  slots: readonly Slot[] = [];
  /** Runs that take part, and those that asked for several at once. */
  runs = 0;
  batches = 0;
  /** Runs of a text that was not understood, and of one that compares nothing with a value: a page, a count. */
  unread = 0;
  withoutPlace = 0;
  readonly #shape: ShapeCost;
  readonly #unit: UnitOfRows;
  readonly #times: number[] = [];
  readonly #targets: object[] = [];
  #statement: StatementPlaces | undefined = undefined;
  #nextSearch = FIRST_SEARCH;
  /** Whether there were more candidates than are followed. */
  #isCrowded = false;

  constructor(shape: ShapeCost, unit: UnitOfRows) {
    this.#shape = shape;
    this.#unit = unit;
  }

  /** Adds a run; `at` is when it began. */
  run(text: string | ReadsValues, parameters: unknown, at: number, target?: object): void {
    if (target !== undefined && this.#targets.length < MANY_TARGETS && !this.#targets.includes(target))
      this.#targets.push(target);
    if (parameters === MANY_ROWS) {
      this.batches += 1;
      return;
    }
    if (typeof text === 'string') {
      const { statement, literals } = this.#read(text);
      this.#see(statement, literals, parameters, at);
      return;
    }
    const values = text(parameters);
    if (values === undefined) this.batches += 1;
    else this.#see(this.#placesOf(values), [], values, at);
  }

  /** Searches, where it is time to: at the third run, the sixth, the twelfth. */
  search(): void {
    if (this.runs < this.#nextSearch) return;
    this.#nextSearch = this.runs * 2;
    if (this.#unit.cellsLeft <= 0) this.#isCrowded = true;
    for (const slot of this.slots) {
      if (slot.recent.length < MIN_KEYS || this.candidates.some(one => one.slot === slot && explains(one)))
        continue;
      const once: [parent: ShapeCost, column: SourceColumn][] = [];
      for (const parent of this.#unit.parents) {
        if (this.#unit.cellsLeft <= 0) break;
        this.#unit.cellsLeft -= CELLS_OF_SEARCH + cellsOf(parent);
        for (const { column, found } of columnsWith(slot.recent, parent)) {
          if (found >= MIN_FOUND) this.#consider(parent, slot, column, false);
          else once.push([parent, column]);
        }
      }
      // A loop that writes to its rows has left one of three as it was: enough for a name that fits.
      if (this.candidates.some(one => one.slot === slot && one.nameClass === 'strong')) continue;
      for (const [parent, column] of once) this.#consider(parent, slot, column, true);
    }
  }

  /** Whether it asks one database after the other, so that no query asks for all at once. */
  get isOfManyTargets(): boolean {
    const { length } = this.#targets;
    return length >= MANY_TARGETS || (length > 1 && 2 * length >= this.runs);
  }

  /** Whether it sets up the session, or takes a lock: nothing that a row is asked for by. */
  get isOfSession(): boolean {
    return this.#statement?.isOfSession === true;
  }

  /** The slots whose values differ. */
  get varying(): readonly Slot[] {
    return this.slots.filter(({ recent }) => recent.length > 1);
  }

  /** Whether it was always given the same. */
  get isConstant(): boolean {
    return this.slots.length > 0 && this.slots.every(({ recent }) => recent.length === 1);
  }

  /** Whether its values say where they come from, and that is from no result. */
  get isFromElsewhere(): boolean {
    const { varying } = this;
    if (varying.length === 0 || this.unread > 0 || this.#isCrowded) return false;
    if (this.candidates.some(({ matched }) => matched >= MIN_FOUND)) return false;
    return varying.every(({ recent }) => recent.every(isReadable));
  }

  /** Whether half of the runs and more follow a column, under whatever name. */
  get isFollowed(): boolean {
    return this.candidates.some(({ matched, isOfRows }) => isOfRows && 2 * matched >= this.runs);
  }

  /** The one key that it was asked for by, with so many different values. */
  get lookUp(): { readonly column: string; readonly values: number } | undefined {
    const [slot, ...others] = this.varying;
    if (slot === undefined || others.length > 0 || slot.isArgument || slot.inner !== undefined)
      return undefined;
    if (!isKeyName(slot.name)) return undefined;
    return { column: slot.name.column, values: new Set(slot.keys).size };
  }

  #see(statement: StatementPlaces, literals: readonly string[], parameters: unknown, at: number): void {
    if (statement.isBatch) {
      this.batches += 1;
      return;
    }
    const values = statement.places.map(place => valueOf(place, literals, parameters));
    if (statement.places.some((place, i) => place.mayBeList && isList(values[i]))) {
      this.batches += 1;
      return;
    }
    if (this.slots.length === 0) {
      this.slots = statement.places.flatMap((place, i) => slotsOf(place, i, unwrapped(values[i])));
    }
    if (this.slots.length === 0) {
      if (statement.isRead) this.withoutPlace += 1;
      else this.unread += 1;
      return;
    }
    this.#add(values.map(unwrapped), at);
  }

  #read(text: string): { statement: StatementPlaces; literals: readonly string[] } {
    const last = this.#statement;
    const known = last?.pattern === undefined ? undefined : literalsOf(last.pattern, text);
    if (last !== undefined && known !== undefined) return { statement: last, literals: known };
    const statement = placesOf(text);
    this.#statement = statement;
    return { statement, literals: statement.pattern?.literals ?? [] };
  }

  /** Those of the first of its runs that has fields: two documents that are written need not have the same. */
  #placesOf(values: Readonly<Record<string, unknown>>): StatementPlaces {
    if (this.#statement === undefined || this.slots.length === 0)
      this.#statement = placesOfFields(Object.keys(values));
    return this.#statement;
  }

  #add(values: readonly unknown[], at: number): void {
    const number = this.runs;
    this.runs += 1;
    if (number < MAX_TOLD_APART) this.#times.push(at);
    for (const slot of this.slots) {
      const key = keyOfSlot(slot, values[slot.place]);
      if (number < MAX_TOLD_APART) slot.keys.push(key);
      if (key === undefined) continue;
      noteRecent(slot, key);
      for (const candidate of this.candidates) {
        if (candidate.slot === slot) candidate.observe(key, at, number);
      }
    }
  }

  #consider(parent: ShapeCost, slot: Slot, column: SourceColumn, isStrongOnly: boolean): void {
    const { trail } = parent;
    const isKnown = this.candidates.some(
      one => one.slot === slot && one.parent === parent && isSameColumn(one.column, column),
    );
    if (trail === undefined || isKnown) return;
    const names = this.#unit.namesOf(parent);
    // As small as the ids of most lists.
    if (column.inner === undefined && isCount(column.name, names)) return;
    const name = nameOfSource(column, names, parent.table);
    const place = { ...slot.name, table: slot.name.table ?? this.#shape.table };
    const nameClass = classOf(slot.word === undefined ? place : slot.name, name, entity =>
      this.#unit.isTable(entity),
    );
    if (isStrongOnly && nameClass !== 'strong') return;
    this.#keep(new Candidate(slot, parent, column, name, nameClass, trail.results));
  }

  #keep(candidate: Candidate): void {
    const { slot } = candidate;
    if (this.candidates.length >= MAX_CANDIDATES) {
      this.#isCrowded = true;
      const weakest = this.candidates.reduce((a, b) => (rankOf(b) > rankOf(a) ? b : a));
      if (rankOf(weakest) <= rankOf(candidate)) return;
      this.candidates.splice(this.candidates.indexOf(weakest), 1);
    }
    this.candidates.push(candidate);
    for (const [number, key] of slot.keys.entries()) {
      if (key !== undefined) candidate.observe(key, this.#times[number] as number, number);
    }
  }
}

function cellsOf({ trail, keptRows }: ShapeCost): number {
  const first = trail?.results.list[0];
  return trail === undefined || first === undefined ? 0 : keptRows * trail.results.namesOf(first).length;
}

/** Whether there is nothing better to be found. */
function explains({ nameClass, share, isOfRows }: Candidate): boolean {
  return nameClass === 'strong' && isOfRows && share === 1;
}

function isSameColumn(a: Candidate['column'], b: Candidate['column']): boolean {
  return a.name === b.name && a.inner === b.inner;
}

function rankOf({ nameClass }: Candidate): number {
  return NAME_CLASSES.indexOf(nameClass);
}

function valueOf({ parameter, literal }: Place, literals: readonly string[], parameters: unknown): unknown {
  if (parameter === undefined) return literals[literal];
  if (typeof parameters !== 'object' || parameters === null) return undefined;
  if (Array.isArray(parameters)) return typeof parameter === 'number' ? parameters[parameter] : undefined;
  return ownValue(parameters, String(parameter));
}

function isList(value: unknown): boolean {
  return Array.isArray(value) && value.length > 1;
}

function unwrapped(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value;
}
