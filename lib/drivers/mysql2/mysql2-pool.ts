import { currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import { callAndNote } from '../../context/thrown-context';
import type { OwnQueryReporter, QueryReporter } from '../../instrumentation/driver-instrumentation';
import { loadedCopies } from '../../kernel/loaded-copies';
import { isHeldByStopped } from '../../instrumentation/stopped-holder';
import { isReplaced, prototypesOf, replaceMethod, replaceMethods } from '../../kernel/method-replacement';

type Callback = (this: unknown, error: unknown, connection?: object) => unknown;
type GetConnection = (this: Pool, callback: Callback, ...rest: unknown[]) => unknown;
type Ask = (this: Pool, text: unknown, ...rest: unknown[]) => unknown;
type GiveBack = (this: object, ...args: unknown[]) => unknown;

interface Pool {
  readonly config: { readonly connectionLimit: number };
  readonly _freeConnections: { readonly length: number };
}

/** By file: what a connection passes when it is given back, closed or lost, also once its pool is closed. */
const RETURNS = [
  ['lib/base/pool.js', 'releaseConnection', true],
  ['lib/pool_connection.js', 'release', false],
  ['lib/pool_connection.js', '_removeFromPool', false],
] as const;

interface PooledConnection {
  /** Whose connection it is; nobody's once it is lost. */
  readonly _pool: object | null;
  query(text: string, callback: (error: unknown) => void): unknown;
  destroy(): void;
}

/** On their way back from a unit of work that was stopped: the first method that they pass knows whose they were. */
const toRollBack = new WeakSet<object>();

/** Nothing says whether a connection is in a transaction; a ROLLBACK outside of any does nothing. */
function rollBack(connection: PooledConnection, reporter: QueryReporter, giveBack: () => unknown): void {
  if (connection._pool === null) return void giveBack();
  const end = (error: unknown): void => {
    // One that could not be rolled back is closed, and its transaction with it.
    if (error) connection.destroy();
    else giveBack();
  };
  reporter.uncharged(() => connection.query('ROLLBACK', end));
}

/** Says who waits for a connection of a pool, and who holds one: its channel names neither. */
export function watchPools(packageName: string, reporter: QueryReporter): (() => void)[] {
  const prototypesIn = (...files: string[]): object[] =>
    prototypesOf(...files.flatMap(file => loadedCopies(packageName, file)));
  // A subclass has methods of its own where somebody has wrapped them.
  const pools = prototypesIn('lib/base/pool.js', 'lib/pool.js');
  return [
    ...RETURNS.flatMap(([file, method, isPool]) =>
      prototypesIn(file).flatMap(prototype =>
        replaceMethod<GiveBack>(prototype, method, original => {
          return function giveBack(...args) {
            const connection = isPool ? args[0] : this;
            if (typeof connection !== 'object' || connection === null) return original.apply(this, args);
            if (isHeldByStopped(connection)) toRollBack.add(connection);
            reporter.released(connection);
            if (!isPool || !toRollBack.delete(connection)) return original.apply(this, args);
            return rollBack(connection as PooledConnection, reporter, () => original.apply(this, args));
          };
        }),
      ),
    ),
    // A connection is given a tick later, also where one is free.
    ...['query', 'execute'].flatMap(method =>
      replaceMethods<Ask>(pools, method, original => {
        return function ask(text, ...rest) {
          const sql = typeof text === 'string' ? text : (text as { sql?: unknown } | undefined)?.sql;
          if (typeof sql === 'string') (reporter as OwnQueryReporter).noteCall?.(sql, 'mysql', ask);
          return original.call(this, text, ...rest);
        };
      }),
    ),
    ...replaceMethods<GetConnection>(
      pools.filter(pool => isReplaced(pool, 'releaseConnection')),
      'getConnection',
      original => watch(original, reporter),
    ),
  ];
}

function watch(original: GetConnection, reporter: QueryReporter): GetConnection {
  return function getConnection(callback, ...rest) {
    const captured = contextStorage.capture();
    const redirect = currentRedirect();
    // 0 is no limit.
    const size = this.config.connectionLimit || Infinity;
    if (typeof callback !== 'function') return original.call(this, callback, ...rest);
    const acquisition = reporter.beginAcquisition(this, size, getConnection);
    if (this._freeConnections.length === 0) acquisition?.queued();
    return original.call(
      this,
      function (...args) {
        const [error, connection] = args;
        if (error || connection === undefined) acquisition?.failed();
        else acquisition?.acquired(connection);
        return callAndNote(captured, () => runAgain(redirect, () => callback.apply(this, args)));
      },
      ...rest,
    );
  };
}
