import type { ColumnName } from './key-names';
import type { StatementPlaces } from './places';

/** In place of the parameters of a statement that is given several rows of them at once: for no row of another one. */
export const MANY_ROWS: unknown = Symbol('many rows');

/**
 * Reads what an operation without a text compares its fields with, off what it was given: `{ buyerId: 17 }`. Nothing
 * for one that compares none, such as a page; `undefined` for one that asks for several at once.
 *
 * It is called only for what repeats.
 */
export type ReadsValues = (given: unknown) => Readonly<Record<string, unknown>> | undefined;

/** What an operation was given, and how that is read; both are kept by reference until the unit of work ends. */
export interface GivenValues {
  readonly given: unknown;
  readonly read: ReadsValues;
  /** What stands for the database that is asked, where that is known. */
  readonly target: object | undefined;
}

/** The fields of an operation, as the places of a statement. */
export function placesOfFields(fields: readonly string[]): StatementPlaces {
  return {
    isRead: true,
    places: fields.map(column => ({
      table: undefined,
      column,
      parameter: column,
      literal: -1,
      mayBeList: false,
      isArgument: false,
    })),
    isBatch: false,
    lists: [],
    isOfSession: false,
    pattern: undefined,
    main: undefined,
    tables: new Map<string, string>(),
    outputs: new Map<string, ColumnName>(),
    counts: new Set<string>(),
  };
}
