import { undoOf } from '../../budget/refused-commit';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { StackBoundary, QueryHandle } from '../../cost/query-handle';
import { replaceMethod } from '../../kernel/method-replacement';
import { placeOf } from './sqlite-place';
import { asCells, columnsOf, isNamed, noteBound, showRows, valuesOf } from './sqlite-values';

type Run<S> = (this: S, ...parameters: unknown[]) => unknown;
type Rows = (result: unknown) => number;
type Shown = (result: unknown) => readonly unknown[] | undefined;

interface Database {
  exec(text: string): unknown;
}

const METHODS: Readonly<Record<string, { readonly rowsOf: Rows; readonly shown?: Shown }>> = {
  all: {
    rowsOf: result => (Array.isArray(result) ? result.length : 0),
    shown: result => (Array.isArray(result) ? result : undefined),
  },
  get: {
    rowsOf: result => (result === undefined ? 0 : 1),
    shown: result => (result === undefined ? undefined : [result]),
  },
  run: {
    rowsOf: result => Number((result as { changes?: number | bigint } | undefined)?.changes ?? 0),
  },
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
  const counted = Object.entries(METHODS).flatMap(([name, { rowsOf, shown }]) =>
    replaceMethod<Run<S>>(prototype, name, original => {
      return function run(...parameters) {
        const handle = begin(
          reporter,
          textOf(this),
          run,
          valuesOf(this, parameters),
          placeOf(this),
          (this as { database?: Database }).database,
        );
        try {
          const result = original.apply(this, parameters);
          if (handle !== undefined) {
            const rows = shown?.(result);
            if (rows !== undefined && rows.length > 0) showRows(handle, this, rows);
            handle.end(rowsOf(result));
          }
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
      const handle = reporter.begin(
        textOf(this),
        'sqlite',
        iterate,
        valuesOf(this, parameters),
        placeOf(this),
      );
      try {
        const rows = original.apply(this, parameters) as Iterator<unknown>;
        return handle === undefined ? rows : countRows(rows, handle, this);
      } catch (error) {
        handle?.end(0, true);
        throw error;
      }
    };
  });
  return [...counted, ...iterated, ...noteBound(prototype)];
}

/** @throws QueryBudgetExceededError where it is kept back; in the place of a COMMIT all is rolled back */
function begin(
  reporter: QueryReporter,
  text: string | undefined,
  stackBoundary: StackBoundary,
  parameters: unknown,
  on: object | undefined,
  database: Partial<Database> | undefined,
): QueryHandle | undefined {
  try {
    return reporter.begin(text, 'sqlite', stackBoundary, parameters, on);
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
function countRows(rows: Iterator<unknown>, handle: QueryHandle, statement: object): Iterator<unknown> {
  const { next } = rows;
  const leave = rows.return?.bind(rows);
  let count = 0;
  let columns: readonly string[] | undefined;
  const define = (name: string, value: (...args: never[]) => unknown): unknown =>
    Object.defineProperty(rows, name, { value, configurable: true, writable: true });
  define('next', () => {
    try {
      const row = next.call(rows);
      if (row.done === true) {
        handle.end(count);
      } else {
        count += 1;
        if (count === 1 && !isNamed(row.value)) columns = columnsOf(statement, row.value);
        if (isNamed(row.value)) handle.returnedOne(row.value);
        else if (columns !== undefined) handle.returnedOne(asCells(row.value), columns);
      }
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
