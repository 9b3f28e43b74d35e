import type { ColumnName } from './key-names';
import { isPlain, ownValue } from './nested-values';
import type { Place } from './places';
import { type Key, keyOf } from './value-key';

/** One of the values that a statement is given at each run, and the values of its runs. */
export interface Slot {
  readonly name: ColumnName;
  /** Which place of the statement. */
  readonly place: number;
  /** For an object that is written: the value under one of its keys. */
  readonly inner: string | undefined;
  /** For a text: the number after one of its words (`order 17`). */
  readonly word: string | undefined;
  readonly isArgument: boolean;
  /** Of the runs that take part. */
  readonly keys: (Key | undefined)[];
  /** The last different ones. */
  readonly recent: Key[];
}

const MAX_INNER = 16;
const MAX_JSON = 1_024;
const RECENT = 4;
const TOKEN =
  /(?<![\w-])([a-z_]{2,})[ :#/=-]{1,2}(\d{1,15}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})(?![\w-])/gi;

/** The slots of a place, as its value shows them: of an object and of a text with numbers there are several. */
export function slotsOf(place: Place, at: number, value: unknown): Slot[] {
  const slot = (name: ColumnName, inner?: string, word?: string): Slot => ({
    name,
    place: at,
    inner,
    word,
    isArgument: place.isArgument,
    keys: [],
    recent: [],
  });
  const object = asObject(value);
  if (object !== undefined) {
    const names = Object.keys(object).slice(0, MAX_INNER);
    return names.map(name => slot({ table: undefined, column: name }, name));
  }
  const tokens = typeof value === 'string' ? tokensOf(value) : [];
  return [
    slot(place),
    ...tokens.map(([word]) => slot({ table: undefined, column: `${word}_id` }, undefined, word)),
  ];
}

/** What a run gives for a slot. */
export function keyOfSlot({ inner, word }: Slot, value: unknown): Key | undefined {
  if (inner !== undefined) {
    const object = asObject(value);
    return object === undefined ? undefined : keyOf(ownValue(object, inner));
  }
  if (word === undefined) return keyOf(value);
  if (typeof value !== 'string') return undefined;
  const found = tokensOf(value).find(([before]) => before === word);
  return found && keyOf(found[1]);
}

/** Adds a value; whether it differs from the last ones. */
export function noteRecent({ recent }: Slot, key: Key): void {
  if (recent.includes(key)) return;
  if (recent.length === RECENT) recent.shift();
  recent.push(key);
}

function tokensOf(text: string): [word: string, id: string][] {
  if (text.length > 128) return [];
  return [...text.matchAll(TOKEN)].map(([, word, id]) => [(word as string).toLowerCase(), id as string]);
}

function asObject(value: unknown): object | undefined {
  if (isPlain(value)) return value;
  if (typeof value !== 'string' || value.charCodeAt(0) !== 123 || value.length > MAX_JSON) return undefined;
  try {
    const parsed: unknown = JSON.parse(value);
    return isPlain(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}
