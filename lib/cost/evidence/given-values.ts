import type { ColumnName } from './key-names';
import { isPlain, visitValues } from './nested-values';
import { MANY_ROWS, type ReadsValues } from './operation-values';
import { placesOf } from './places';
import { type Key, keyOf } from './value-key';

/** A longer list is read as far as this: as many rows of a result are kept. */
const MAX_VALUES = 600;

/** What the runs of a statement were given, and the columns that they compared with it. */
export interface Given {
  readonly values: ReadonlySet<Key>;
  readonly columns: readonly ColumnName[];
}

/** The columns that a statement compares with one value, or with a list of them. */
export function comparedBy(text: string | ReadsValues): readonly ColumnName[] {
  if (typeof text !== 'string') return [];
  const { places, lists } = placesOf(text);
  return [...places, ...lists];
}

/** Adds all values that a run was given, in whatever place: those of a list as well. */
export function addGiven(given: Set<Key>, text: string | ReadsValues, parameters: unknown): void {
  const add = (value: unknown): boolean => {
    const key = keyOf(value);
    if (key !== undefined) given.add(key);
    return given.size < MAX_VALUES;
  };
  if (parameters !== MANY_ROWS) addEach(parameters, add);
  // TypeORM writes a list of numbers into the text.
  if (typeof text !== 'string') return;
  for (const literal of placesOf(text).pattern?.literals ?? []) if (!add(literal)) return;
}

/** Whether there is room for more. */
function addEach(parameters: unknown, add: (value: unknown) => boolean): boolean {
  let hasRoom = true;
  const note = (value: unknown): boolean => (hasRoom = hasRoom && add(value));
  if (Array.isArray(parameters)) {
    for (const one of parameters) {
      if (Array.isArray(one)) hasRoom = addEach(one, add);
      else if (isPlain(one)) visitValues(one, note);
      else note(one);
      if (!hasRoom) return false;
    }
  } else if (isPlain(parameters)) visitValues(parameters, note);
  return hasRoom;
}
