import { isWordPart } from './sql-lexer';

/** Lists and clauses are looked for up to this depth of brackets. */
const MAX_DEPTH = 100;

/** So much of a shape is left to its WHERE, where not even the joins before it have room. */
const WHERE_SHARE = 3 / 4;

const GAP = ' … ';

/** Of a table, a dot and a column in PostgreSQL, with their quotes; others have shorter names. */
const MAX_NAME = 131;
/** So many tables of sub-selects are named. */
const MAX_TABLES = 3;
const TABLE = /\s*((?:"[^"]*"|`[^`]*`|[\w$]+)(?:\.(?:"[^"]*"|`[^`]*`|[\w$]+))*)/y;

/** A list of columns, and how many they are. */
interface ColumnList {
  readonly start: number;
  end: number;
  columns: number;
  /** Those that hold a sub-select, by number, and what it selects from. */
  subSelects: Map<number, string> | undefined;
}

/** What a shape has that can be left out, and what cannot. */
interface Parts {
  readonly lists: readonly ColumnList[];
  /** Where the WHERE of the outermost query begins; -1 without one. */
  readonly where: number;
}

/**
 * A shape in at most so many characters: `SELECT 45 columns FROM wide WHERE parent_id = ?`.
 *
 * Its column lists are left out, the longest first, until it fits; then what stands before its WHERE, as the WHERE
 * is what tells one query of a table from another.
 */
export function shownShape(shape: string, most: number): string {
  if (shape.length <= most) return shape;
  const short = withoutColumns(shape, most);
  if (short.length <= most) return short;
  const { where } = partsOf(short);
  const rest = where < 0 ? '' : short.slice(where);
  const room = most - GAP.length - rest.length;
  if (where < 0 || rest.length > most * WHERE_SHARE) return short.slice(0, wholeWords(short, most));
  return short.slice(0, wholeWords(short, room)).trimEnd() + GAP + rest;
}

/** Where a text of at most so many characters ends, so that no name is cut: `t.i` and `"Pr` mean nothing. */
function wholeWords(text: string, most: number): number {
  let quote = '';
  let end = 0;
  for (let at = 0; at <= most; at += 1) {
    const character = text[at] as string;
    const isInName = isPartOfName(text, at - 1) && isPartOfName(text, at);
    if (quote === '' && !isInName) end = at;
    if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '"' || character === '`') quote = character;
  }
  // No name is so long, or there is no room for one.
  return most - end > Math.min(MAX_NAME, most / 2) ? most : end;
}

/** A dot joins the names of a table and of a column, and quotes are of the name that they are around. */
function isPartOfName(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return isWordPart(code) || code === 46 || code === 34 || code === 96;
}

/** The same for a line of a log: what is cut in spite of it ends with `…`. */
export function cutShape(shape: string, most: number): string {
  const shown = shownShape(shape, most);
  return isCut(shape, shown, most) ? `${shown.trimEnd()}…` : shown;
}

/** Whether its end is missing, and not only what stood in the middle. */
function isCut(shape: string, shown: string, most: number): boolean {
  return shape.length > most && !shown.includes(GAP) && shown !== withoutColumns(shape, most);
}

function withoutColumns(shape: string, most: number): string {
  const lists = partsOf(shape).lists.filter(list => list.columns > 1 && savedBy(list) > 0);
  lists.sort((a, b) => savedBy(b) - savedBy(a));
  const left: ColumnList[] = [];
  let { length } = shape;
  for (const list of lists) {
    if (length <= most) break;
    // One that lies in another is gone with it.
    if (left.some(({ start, end }) => start <= list.start && list.end <= end)) continue;
    left.push(list);
    length -= savedBy(list);
  }
  left.sort((a, b) => b.start - a.start);
  return left.reduce(
    (text, list) => `${text.slice(0, list.start)}${describe(list)}${text.slice(list.end)}`,
    shape,
  );
}

/** `45 columns`, `3 columns (1 of them a sub-select on shipments)`: that one may be what takes the time. */
function describe({ columns, subSelects }: ColumnList): string {
  if (subSelects === undefined) return `${columns} columns`;
  const { size } = subSelects;
  const tables = [...new Set(subSelects.values())].filter(Boolean).slice(0, MAX_TABLES).join(', ');
  const what = size === 1 ? 'a sub-select' : 'sub-selects';
  return `${columns} columns (${size} of them ${what}${tables === '' ? '' : ` on ${tables}`})`;
}

function savedBy(list: ColumnList): number {
  return list.end - list.start - describe(list).length;
}

function noteSubSelect(list: ColumnList): void {
  const subSelects = (list.subSelects ??= new Map<number, string>());
  if (!subSelects.has(list.columns)) subSelects.set(list.columns, '');
}

/** The table behind a FROM, for the sub-select of this column. */
function noteTable(list: ColumnList | undefined, shape: string, at: number): void {
  if (list?.subSelects?.get(list.columns) !== '') return;
  TABLE.lastIndex = at;
  const [, table] = TABLE.exec(shape) ?? [];
  if (table !== undefined) list.subSelects.set(list.columns, table);
}

/** Reads a shape: its keywords are in capitals, one space is between its words, and it holds no string. */
function partsOf(shape: string): Parts {
  const lists: ColumnList[] = [];
  const open: (ColumnList | undefined)[] = [];
  let depth = 0;
  let where = -1;
  let distinctDepth = -1;
  let previous = '';
  let isBeforeTargets = false;
  const end = (at: number): void => {
    const list = open[depth];
    if (list === undefined) return;
    list.end = at;
    lists.push(list);
    open[depth] = undefined;
  };
  /** The list around a sub-select that begins here. */
  const around = (): ColumnList | undefined => open.slice(0, depth).findLast(list => list !== undefined);
  const begin = (start: number): void => {
    open[depth] = { start, end: start, columns: 1, subSelects: undefined };
  };
  for (let at = 0; at < shape.length; at += 1) {
    const character = shape[at] as string;
    switch (character) {
      case '"':
      case '`':
        at = shape.indexOf(character, at + 1);
        if (at < 0) return { lists, where };
        previous = '';
        continue;
      case '(':
      case '[':
        depth += 1;
        if (depth > MAX_DEPTH) return { lists, where };
        open[depth] = undefined;
        if (isBeforeTargets && character === '(') begin(at + 1);
        isBeforeTargets = false;
        continue;
      case ')':
      case ']':
        end(at);
        if (depth > 0) depth -= 1;
        if (depth === distinctDepth) {
          distinctDepth = -1;
          begin(at + 2);
        }
        continue;
      case ',': {
        const list = open[depth];
        if (list !== undefined) list.columns += 1;
        continue;
      }
    }
    if (!isWordPart(shape.charCodeAt(at))) continue;
    const start = at;
    while (isWordPart(shape.charCodeAt(at + 1))) at += 1;
    const word = shape.slice(start, at + 1);
    switch (word) {
      case 'SELECT': {
        const list = around();
        if (list !== undefined) noteSubSelect(list);
        begin(at + 2);
        break;
      }
      case 'RETURNING':
      case 'SET':
        begin(at + 2);
        break;
      case 'INTO':
        isBeforeTargets = true;
        break;
      case 'FROM':
        if (previous === 'DISTINCT' || open[depth] === undefined) break;
        end(start - 1);
        noteTable(around(), shape, at + 1);
        break;
      case 'DISTINCT':
        if (previous === 'SELECT') begin(at + 2);
        break;
      case 'ON':
        // `SELECT DISTINCT ON (a, b) c`: the list begins behind the brackets.
        if (previous === 'DISTINCT') distinctDepth = depth;
        break;
      case 'VALUES':
        isBeforeTargets = false;
        break;
      case 'WHERE':
      case 'UNION':
      case 'EXCEPT':
      case 'INTERSECT':
        end(start - 1);
        if (word === 'WHERE' && depth === 0) where = start;
        break;
    }
    previous = word;
  }
  while (depth >= 0) {
    // `RETURNING` and `SET` may reach to the end.
    end(shape.length);
    depth -= 1;
  }
  return { lists, where };
}
