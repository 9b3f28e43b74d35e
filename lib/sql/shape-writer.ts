import { flatString } from '../kernel/flat-string';
import { RecentMap } from '../kernel/recent-map';
import { shownShape } from './shown-shape';
import { isWordPart } from './sql-lexer';

/** The longest shape that is kept, in UTF-16 code units. */
export const MAX_SHAPE_LENGTH = 2_048;

/** Statements nested deeper than this are not followed. */
export const MAX_DEPTH = 100;

// All of it: two statements that begin with the same 45 columns are told apart by what comes after them.
const CAPACITY = 65_536;

/** Long shapes that are remembered as they are shown: a text with a literal is read again each time. */
const LONG_SHAPES = 200;

// Shared: a scan is synchronous. Code units instead of joined slices: V8 would keep the whole statement alive behind
// a slice of 13 characters, with its literals, for as long as the shape lives.
const units = new Uint16Array(CAPACITY);

const START = 0;
const VALUE = 1;
const KEYWORD = 2;
const OPERATOR = 3;
/** After an opening bracket, a comma, a dot or a cast: the next token follows without a space. */
const JOIN = 4;
const CLOSE = 5;
const SEMICOLON = 6;

const NO_LIST = 0;
/** Inside the brackets of one row, of `VALUES` or in a list. */
const LIST = 1;
/** ` "(),.:?[]` */
const PART_OF_CAST: ReadonlySet<number> = new Set([32, 34, 40, 41, 44, 46, 58, 63, 91, 93]);
/** At the rows of `VALUES (…), (…)`, between their brackets. */
const ROWS = 2;
/** Inside the brackets of `IN (…)` or of `ARRAY[…]`: all elements are of one type. */
const SET = 3;

/** The conditions of a chain begin behind these; no other word but those of `INSIDE_CONDITION` goes on with one. */
const BEFORE_CONDITION: ReadonlySet<string> = new Set('WHERE HAVING ON'.split(' '));
const INSIDE_CONDITION: ReadonlySet<string> = new Set(
  'AND NOT IN IS NULL TRUE FALSE LIKE ILIKE BETWEEN ARRAY ROW ALL EXISTS'.split(' '),
);

/** Writes the shape token by token, with one spacing, and drops list elements that repeat the one before. */
export class ShapeWriter {
  /** What tells apart two long statements that are shown alike; of a shape that is kept whole, there is none. */
  key: string | undefined = undefined;
  readonly #long = new RecentMap<string>(LONG_SHAPES);
  #length = 0;
  #last = START;
  #depth = 0;
  #listNext = false;
  #signStart = 0;
  #signEnd = -1;
  #beforeSign = START;
  readonly #list = new Uint8Array(MAX_DEPTH + 1);
  readonly #elementStart = new Int32Array(MAX_DEPTH + 1);
  readonly #previousStart = new Int32Array(MAX_DEPTH + 1);
  readonly #previousEnd = new Int32Array(MAX_DEPTH + 1);
  /** Where the condition of a chain of `OR` begins; -1 outside of one. */
  readonly #conditionStart = new Int32Array(MAX_DEPTH + 1);
  readonly #lastConditionStart = new Int32Array(MAX_DEPTH + 1);
  readonly #lastConditionEnd = new Int32Array(MAX_DEPTH + 1);

  reset(): void {
    this.#length = 0;
    this.#last = START;
    this.#depth = 0;
    this.#listNext = false;
    this.#signEnd = -1;
    this.#list[0] = NO_LIST;
    this.#leaveChain();
  }

  get isFull(): boolean {
    return this.#length >= CAPACITY;
  }

  /** Whether an operator here would have something on its left. */
  get isAfterValue(): boolean {
    return this.#last === VALUE || this.#last === CLOSE;
  }

  /** Whether the next token begins an element of a list of values. */
  get isAtListElement(): boolean {
    return this.#last === JOIN && isInList(this.#list[this.#depth]);
  }

  /** Whether the next token is compared, assigned or listed. */
  get isAtOperand(): boolean {
    return this.#last === OPERATOR || this.isAtListElement;
  }

  keyword(word: string): void {
    const isChained = word === 'OR' && this.#endCondition();
    if (!isChained && !INSIDE_CONDITION.has(word)) this.#endChain();
    if (word === 'ROW') this.#gap();
    else this.#next();
    this.#copy(word, 0, word.length);
    this.#last = KEYWORD;
    if (isChained || BEFORE_CONDITION.has(word)) this.#conditionStart[this.#depth] = this.#length;
    if (word === 'IN' || word === 'ARRAY') {
      this.#listNext = true;
    } else if (word === 'VALUES') {
      this.#list[this.#depth] = ROWS;
      this.#elementStart[this.#depth] = this.#length + 1;
      this.#previousEnd[this.#depth] = -1;
    } else if (word === 'SELECT') {
      this.#list[this.#depth] = NO_LIST;
    } else if (word === 'NULL' || word === 'TRUE' || word === 'FALSE' || word === 'DEFAULT') {
      this.#last = VALUE;
    }
  }

  /** A name, a function or a word that carries no structure. */
  name(text: string, start: number, end: number): void {
    this.#next();
    this.#copy(text, start, end);
    this.#last = VALUE;
  }

  placeholder(): void {
    this.#next();
    this.#put(63);
    this.#last = VALUE;
  }

  /** A number takes its minus with it: `-1` and `1` are one shape, `a - 1` stays a subtraction. */
  number(): void {
    if (this.#last === OPERATOR && this.#length === this.#signEnd) {
      this.#length = this.#signStart;
      this.#last = this.#beforeSign;
    }
    this.placeholder();
  }

  /** `glued`: nothing stands between this character and the one before. */
  operator(code: number, glued: boolean): void {
    const start = this.#length;
    const before = this.#last;
    const isSign = code === 45 && !this.isAfterValue;
    if (!glued || before !== OPERATOR) this.#next();
    this.#put(code);
    this.#last = OPERATOR;
    this.#signStart = start;
    this.#signEnd = isSign ? this.#length : -1;
    this.#beforeSign = before;
  }

  dot(): void {
    this.#put(46);
    this.#last = JOIN;
  }

  cast(): void {
    this.#put(58);
    this.#put(58);
    this.#last = JOIN;
  }

  comma(): void {
    this.#endChain();
    if (this.#list[this.#depth] !== NO_LIST) this.#settle();
    this.#put(44);
    this.#put(32);
    this.#elementStart[this.#depth] = this.#length;
    this.#last = JOIN;
  }

  /** Returns false when the statement is nested too deeply to be followed. */
  open(code: number): boolean {
    if (this.#depth === MAX_DEPTH) return false;
    const outer = this.#list[this.#depth];
    const inList = outer === ROWS || (isInList(outer) && this.#last === JOIN);
    const list = this.#listNext ? SET : inList ? LIST : NO_LIST;
    if (!this.isAfterValue && !(this.#listNext && code === 91)) this.#gap();
    this.#put(code);
    this.#last = JOIN;
    this.#listNext = false;
    this.#depth += 1;
    this.#list[this.#depth] = list;
    this.#elementStart[this.#depth] = this.#length;
    this.#previousEnd[this.#depth] = -1;
    this.#leaveChain();
    if (code === 40) this.#conditionStart[this.#depth] = this.#length;
    return true;
  }

  close(code: number): void {
    this.#endChain();
    if (this.#list[this.#depth] !== NO_LIST) this.#settle();
    if (this.#depth > 0) this.#depth -= 1;
    this.#put(code);
    this.#last = CLOSE;
  }

  /** Written only when a statement follows. */
  semicolon(): void {
    this.#endChain();
    if (this.#list[this.#depth] === ROWS) this.#settle();
    this.#depth = 0;
    this.#list[0] = NO_LIST;
    this.#leaveChain();
    if (this.#last !== START) this.#last = SEMICOLON;
  }

  /** The scan stopped in the middle: of a list or a chain, keeps what every longer one would begin with too. */
  abandon(): void {
    for (let depth = 0; depth <= this.#depth; depth += 1) {
      const listEnd = this.#list[depth] === NO_LIST ? -1 : (this.#previousEnd[depth] ?? -1);
      const end = Math.max(listEnd, this.#lastConditionEnd[depth] ?? -1);
      if (end === -1) continue;
      this.#length = end;
      this.#leaveChain();
      return;
    }
  }

  /** A flat copy that shares no memory with the statement; a long one without its column lists. */
  finish(): string {
    this.#endChain();
    if (this.#list[this.#depth] !== NO_LIST) this.#settle();
    const length = this.#length;
    if (length <= MAX_SHAPE_LENGTH) {
      this.key = undefined;
      return flatString(units, length);
    }
    const key = keyOf(length);
    this.key = key;
    let shape = this.#long.get(key);
    if (shape === undefined) this.#long.set(key, (shape = shown(length)));
    return shape;
  }

  #next(): void {
    if (this.#list[this.#depth] === ROWS) {
      this.#settle();
      this.#list[this.#depth] = NO_LIST;
    }
    this.#listNext = false;
    this.#gap();
  }

  #gap(): void {
    if (this.#last === START || this.#last === JOIN) return;
    if (this.#last === SEMICOLON) this.#put(59);
    this.#put(32);
  }

  /** Ends a condition before `OR`, where there is one, and drops it when it is the same as the one before. */
  #endCondition(): boolean {
    const depth = this.#depth;
    const start = this.#conditionStart[depth] ?? -1;
    if (start === -1) return false;
    const lastEnd = this.#lastConditionEnd[depth] ?? -1;
    // The first of a bracket has no space before it.
    const from = units[start] === 32 ? start + 1 : start;
    const lastStart = this.#lastConditionStart[depth] ?? 0;
    if (lastEnd - lastStart === this.#length - from && repeats(lastStart, lastEnd, from)) {
      this.#length = lastEnd;
    } else {
      this.#lastConditionStart[depth] = from;
      this.#lastConditionEnd[depth] = this.#length;
    }
    return true;
  }

  #endChain(): void {
    if ((this.#lastConditionEnd[this.#depth] ?? -1) !== -1) this.#endCondition();
    this.#leaveChain();
  }

  #leaveChain(): void {
    this.#conditionStart[this.#depth] = -1;
    this.#lastConditionEnd[this.#depth] = -1;
  }

  /** Drops the element that ends here when it is the same as the one before. */
  #settle(): void {
    const depth = this.#depth;
    const start = this.#elementStart[depth] ?? 0;
    const previousStart = this.#previousStart[depth] ?? 0;
    const previousEnd = this.#previousEnd[depth] ?? -1;
    const isSame =
      (previousEnd - previousStart === this.#length - start && repeats(previousStart, previousEnd, start)) ||
      // Some cast the first of a list, which is then of that type.
      (this.#list[depth] === SET && isValue(previousStart, previousEnd) && isValue(start, this.#length));
    if (isSame) {
      this.#length = previousEnd;
    } else {
      this.#previousStart[depth] = start;
      this.#previousEnd[depth] = this.#length;
    }
  }

  #copy(text: string, start: number, end: number): void {
    const stop = Math.min(end, start + CAPACITY - this.#length);
    let length = this.#length;
    for (let at = start; at < stop; at += 1) units[length++] = text.charCodeAt(at);
    this.#length = length;
  }

  #put(code: number): void {
    if (this.#length < CAPACITY) units[this.#length++] = code;
  }
}

function repeats(previousStart: number, previousEnd: number, start: number): boolean {
  for (let at = previousStart; at < previousEnd; at += 1) {
    if (units[at] !== units[start + at - previousStart]) return false;
  }
  return true;
}

function isInList(list: number | undefined): boolean {
  return list === LIST || list === SET;
}

/** Whether an element is a value alone, with a cast or without. */
function isValue(start: number, end: number): boolean {
  if (units[start] !== 63 || start >= end) return false;
  if (end === start + 1) return true;
  for (let at = start + 1; at < end; at += 1) {
    const code = units[at] as number;
    if (!isWordPart(code) && !PART_OF_CAST.has(code)) return false;
  }
  return units[start + 1] === 58;
}

function shown(length: number): string {
  const whole = Buffer.from(units.buffer, 0, 2 * length).toString('utf16le');
  const text = shownShape(whole, MAX_SHAPE_LENGTH);
  for (let at = 0; at < text.length; at += 1) units[at] = text.charCodeAt(at);
  return flatString(units, text.length);
}

/** 64 bits of a hash: of a thousand statements, two have the same once in 10^13 processes. */
function keyOf(length: number): string {
  let high = 0x811c_9dc5;
  let low = length;
  for (let at = 0; at < length; at += 1) {
    const code = units[at] as number;
    high = Math.imul(high ^ code, 16_777_619);
    low = Math.imul(low ^ code, 0x9e37_79b1);
    low ^= low >>> 15;
  }
  return `#${(high >>> 0).toString(36)}.${(low >>> 0).toString(36)}`;
}
