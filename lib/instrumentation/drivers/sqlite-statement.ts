import { undoOf } from '../../budget/refused-commit';
import type { Below, QueryHandle, QueryReporter } from '../driver-instrumentation';
import { sharedName } from '../../context/protocol';
import { replaceMethod } from '../method-replacement';

type Run<S> = (this: S, ...parameters: unknown[]) => unknown;
type Rows = (result: unknown) => number;

interface Database {
  exec(text: string): unknown;
}

/** On a statement of `node:sqlite`, which does not know whose it is. */
const DATABASE = Symbol.for(sharedName('sqlite-database'));

/** Those of `better-sqlite3` know whose they are. */
interface OfDatabase {
  readonly database: Database;
  readonly [DATABASE]: object;
}

/** Has the statements of a database know whose they are. */
export function markStatements(prototype: object): (() => void)[] {
  return replaceMethod<(this: object, ...args: unknown[]) => object>(prototype, 'prepare', original => {
    return function prepare(...args) {
      return Object.defineProperty(original.apply(this, args), DATABASE, { value: this, configurable: true });
    };
  });
}

function placeOf(statement: Partial<OfDatabase>): object | undefined {
  return statement.database ?? statement[DATABASE];
}

const METHODS: Readonly<Record<string, Rows>> = {
  all: result => (Array.isArray(result) ? result.length : 0),
  get: result => (result === undefined ? 0 : 1),
  run: result => Number((result as { changes?: number | bigint } | undefined)?.changes ?? 0),
};

/**
 * Counts what a prepared statement of a driver for SQLite runs. All of it is synchronous: the context is
 * that of the caller, and a budget that throws does so where the statement is run.
 */
export function countStatements<S extends object>(
  prototype: object,
  reporter: QueryReporter,
  textOf: (statement: S) => string | undefined,
): (() => void)[] {
  const counted = Object.entries(METHODS).flatMap(([name, rowsOf]) =>
    replaceMethod<Run<S>>(prototype, name, original => {
      return function run(...parameters) {
        const handle = begin(
          reporter,
          textOf(this),
          run,
          parameters,
          placeOf(this),
          (this as Partial<OfDatabase>).database,
        );
        try {
          const result = original.apply(this, parameters);
          handle?.end(rowsOf(result));
          return result;
        } catch (error) {
          handle?.end(0, true);
          throw error;
        }
      };
    }),
  );
  const iterated = replaceMethod<Run<S>>(prototype, 'iterate', original => {
    return function iterate(...parameters) {
      const handle = reporter.begin(textOf(this), 'sqlite', iterate, parameters, placeOf(this));
      try {
        const rows = original.apply(this, parameters) as Iterator<unknown>;
        return handle === undefined ? rows : countRows(rows, handle);
      } catch (error) {
        handle?.end(0, true);
        throw error;
      }
    };
  });
  return [...counted, ...iterated];
}

/** @throws QueryBudgetExceededError where it is kept back; in the place of a COMMIT all is rolled back */
function begin(
  reporter: QueryReporter,
  text: string | undefined,
  below: Below,
  parameters: unknown,
  on: object | undefined,
  database: Partial<Database> | undefined,
): QueryHandle | undefined {
  try {
    return reporter.begin(text, 'sqlite', below, parameters, on);
  } catch (error) {
    if (undoOf(error) === 'instead') reporter.uncharged(() => rollBack(database));
    throw error;
  }
}

function rollBack(database: Partial<Database> | undefined): void {
  try {
    database?.exec?.('ROLLBACK');
  } catch {
    // It is in no transaction.
  }
}

/** Counts a text that is run as it is: one query, however many statements it holds. */
export function countTexts(prototype: object, name: string, reporter: QueryReporter): (() => void)[] {
  return replaceMethod<Run<object>>(prototype, name, original => {
    return function exec(...args) {
      const [text] = args;
      if (typeof text !== 'string') return original.apply(this, args);
      const handle = begin(reporter, text, exec, undefined, this, this as Partial<Database>);
      try {
        const result = original.apply(this, args);
        handle?.end(0);
        return result;
      } catch (error) {
        handle?.end(0, true);
        throw error;
      }
    };
  });
}

/** The same iterator, which counts its rows as they are read, and ends when it is left. */
function countRows(rows: Iterator<unknown>, handle: QueryHandle): Iterator<unknown> {
  const { next } = rows;
  const leave = rows.return?.bind(rows);
  let count = 0;
  const define = (name: string, value: (...args: never[]) => unknown): unknown =>
    Object.defineProperty(rows, name, { value, configurable: true, writable: true });
  define('next', () => {
    try {
      const row = next.call(rows);
      if (row.done === true) handle.end(count);
      else count += 1;
      return row;
    } catch (error) {
      handle.end(count, true);
      throw error;
    }
  });
  if (leave !== undefined) {
    define('return', (value?: unknown) => {
      handle.end(count);
      return leave(value);
    });
  }
  return rows;
}
