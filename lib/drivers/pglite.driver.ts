import type { Columns } from '../cost/evidence/kept-results';
import type { DriverInstrumentation, QueryReporter } from '../instrumentation/driver-instrumentation';
import { installedBuilds, loadedCopies } from '../kernel/loaded-copies';
import { replaceMethods } from '../kernel/method-replacement';
import { takingBack } from '../kernel/take-back';

const NAME = '@electric-sql/pglite';

type Query = (this: unknown, text: string, ...rest: unknown[]) => Promise<unknown>;
type Tagged = (strings: readonly string[], ...values: unknown[]) => Promise<unknown>;
type Work = (tx: Transaction) => unknown;
type Transact = (this: unknown, work: Work, ...rest: unknown[]) => Promise<unknown>;

interface Transaction {
  query: (text: string, ...rest: unknown[]) => Promise<unknown>;
  exec: (text: string, ...rest: unknown[]) => Promise<unknown>;
  sql: Tagged;
}

interface Result {
  readonly rows: readonly unknown[];
  readonly fields: Columns;
}

/** A name, a raw piece of a text, or a fragment. */
interface Template {
  readonly _templateType?: unknown;
  readonly str?: string;
  readonly strings?: readonly string[];
  readonly values?: readonly unknown[];
}

/** What `pgliteInstrumentation()` of the package installs. */
export function pgliteInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      // The build for `import` and the one for `require` have a class each.
      const builds = [...loadedCopies(NAME, 'dist/index.cjs'), ...installedBuilds(NAME, ['dist/index.js'])];
      const undo = builds.flatMap(build => cover(build, reporter));
      return takingBack(undo);
    },
  };
}

function cover(build: unknown, reporter: QueryReporter): (() => void)[] {
  const { PGlite } = build as { PGlite?: { prototype: object } };
  const base = PGlite && (Object.getPrototypeOf(PGlite.prototype) as object);
  if (PGlite === undefined || base === undefined || !Object.hasOwn(base, 'query')) {
    reporter.warn('this version of PGlite has an unknown base class, so its queries are not counted');
    return [];
  }
  // The class itself has none of its own, unless somebody has wrapped it.
  const classes = [base, PGlite.prototype];
  return [
    // `sql` calls it.
    ...replaceMethods<Query>(classes, 'query', original => countText(original, reporter)),
    ...replaceMethods<Query>(classes, 'exec', original => countText(original, reporter)),
    ...replaceMethods<Transact>(classes, 'transaction', original => {
      return async function transaction(work, ...rest) {
        // PGlite sends both itself.
        reporter.begin('BEGIN', 'postgresql', transaction, undefined, this as object);
        const inside: Work = async tx => {
          const result = await work(countInside(tx, reporter));
          // Here, where it can still be kept back: what throws is rolled back.
          reporter.begin('COMMIT', 'postgresql', transaction, undefined, this as object);
          return result;
        };
        try {
          return await original.call(this, inside, ...rest);
        } catch (error) {
          reporter.begin('ROLLBACK', 'postgresql', transaction, undefined, this as object);
          throw error;
        }
      };
    }),
  ];
}

/** The statements of a transaction are functions of its own. */
function countInside(tx: Transaction, reporter: QueryReporter): Transaction {
  const { query, exec, sql } = tx;
  const asMethod = (fn: (text: string, ...rest: unknown[]) => Promise<unknown>): Query =>
    function (text, ...rest) {
      return fn.call(tx, text, ...rest);
    };
  tx.query = countText(asMethod(query), reporter) as Transaction['query'];
  tx.exec = countText(asMethod(exec), reporter) as Transaction['exec'];
  tx.sql = async (strings, ...values) => {
    const parameters: unknown[] = [];
    const text = textOf(strings, values, parameters);
    return counted(reporter, text, parameters, tx.sql, tx, () => sql.call(tx, strings, ...values));
  };
  return tx;
}

function countText(original: Query, reporter: QueryReporter): Query {
  return async function query(text, ...rest) {
    return counted(reporter, text, rest[0], query, this as object, () => original.call(this, text, ...rest));
  };
}

async function counted(
  reporter: QueryReporter,
  text: unknown,
  parameters: unknown,
  stackBoundary: (...args: never[]) => unknown,
  on: object,
  send: () => Promise<unknown>,
): Promise<unknown> {
  const handle = reporter.begin(
    typeof text === 'string' ? text : undefined,
    'postgresql',
    stackBoundary,
    parameters,
    on,
  );
  try {
    const result = await send();
    if (handle !== undefined) {
      const { rows = [], fields } = longestOf(result) ?? {};
      if (rows.length > 0) handle.returned(rows, Array.isArray(rows[0]) ? fields : undefined);
      handle.end(rowsOf(result));
    }
    return result;
  } catch (error) {
    handle?.end(0, true);
    throw error;
  }
}

/** What a template becomes, with the values in the order of their numbers: names and fragments are written into it. */
function textOf(strings: readonly string[], values: readonly unknown[], parameters: unknown[]): string {
  let text = strings[0] ?? '';
  for (const [i, value] of values.entries()) {
    const { _templateType: type, str, strings: inner, values: own } = (value ?? {}) as Template;
    if (type === 'part') text += str ?? '';
    else if (type === 'container') text += textOf(inner ?? [], own ?? [], parameters);
    else text += `$${parameters.push(value)}`;
    text += strings[i + 1] ?? '';
  }
  return text;
}

/** Of several statements in one text, the result with the most rows: each has columns of its own. */
function longestOf(result: unknown): Partial<Result> | undefined {
  if (!Array.isArray(result)) return (result ?? undefined) as Partial<Result> | undefined;
  return (result as Partial<Result>[]).reduce<Partial<Result> | undefined>((longest, one) => {
    return (one.rows?.length ?? 0) > (longest?.rows?.length ?? 0) ? one : longest;
  }, undefined);
}

/** Rows returned or affected; `exec()` gives a result for each of its statements. */
function rowsOf(result: unknown): number {
  if (Array.isArray(result)) return result.reduce<number>((sum, one) => sum + rowsOf(one), 0);
  const { rows, affectedRows } = (result ?? {}) as { rows?: readonly unknown[]; affectedRows?: number };
  return affectedRows === undefined || affectedRows === 0 ? (rows?.length ?? 0) : affectedRows;
}
