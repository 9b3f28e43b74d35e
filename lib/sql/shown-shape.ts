import { isWordPart } from './sql-lexer';

/** Lists and clauses are looked for up to this depth of brackets. */
const MAX_DEPTH = 100;

/** So much of a shape is left to its WHERE, where not even the joins before it have room. */
const WHERE_SHARE = 3 / 4;

const GAP = ' … ';

/** A list of columns, and how many they are. */
interface ColumnList {
  readonly start: number;
  end: number;
  columns: number;
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
  if (where < 0 || rest.length > most * WHERE_SHARE) return short.slice(0, most);
  return short.slice(0, room).trimEnd() + GAP + rest;
}

/** The same for a line of a log: what is cut in spite of it ends with `…`. */
export function cutShape(shape: string, most: number): string {
  const shown = shownShape(shape, most);
  return shown.length === most && shape.length > most && !shown.includes(GAP) ? `${shown}…` : shown;
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
    (text, { start, end, columns }) => `${text.slice(0, start)}${columns} columns${text.slice(end)}`,
    shape,
  );
}

function savedBy({ start, end, columns }: ColumnList): number {
  return end - start - `${columns} columns`.length;
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
  const begin = (start: number): void => {
    open[depth] = { start, end: start, columns: 1 };
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
      case 'SELECT':
      case 'RETURNING':
      case 'SET':
        begin(at + 2);
        break;
      case 'INTO':
        isBeforeTargets = true;
        break;
      case 'FROM':
        if (previous !== 'DISTINCT') end(start - 1);
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
