import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { AcquisitionHandle, QueryHandle } from '../../cost/query-handle';
import { isHeldByStopped } from '../../instrumentation/stopped-holder';
import { installedBuilds, loadedCopies } from '../../kernel/loaded-copies';
import { isReplaced, replaceMethod } from '../../kernel/method-replacement';
import { type Build, type MariadbClasses, mariadbClasses } from './mariadb-classes';
import { countCommands, takeUp, whileCounted } from './mariadb-commands';
import { endTransaction, keepBack } from './mariadb-rollback';
import { BEGUN, beginOnce, type Connection, type Params, parametersOf } from './mariadb-params';
import { endWith, endWithPair } from './mariadb-rows';
import { inContext } from '../../instrumentation/caller-context';
import { takingBack } from '../../kernel/take-back';

const NAME = 'mariadb';

type Callback = (...args: unknown[]) => unknown;
type GetConnection = (this: Pool, params: Params, callback: Callback) => unknown;
type EndLeak = (this: object, connection: object) => unknown;
type Connect = (this: object, ...args: unknown[]) => unknown;
type Send = (this: Connection, params: Params, ...rest: unknown[]) => unknown;
type QueryCommand = (this: unknown, connection: Connection, ...rest: unknown[]) => unknown;

/** What `mariadbInstrumentation()` of the package installs. */
export function mariadbInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const builds = [
        ...loadedCopies(NAME, 'dist/promise.cjs'),
        ...loadedCopies(NAME, 'dist/callback.cjs'),
        // Of 3.4, which has one build: the copy of Prisma's adapter, say.
        ...loadedCopies(NAME, 'promise.js'),
        ...loadedCopies(NAME, 'callback.js'),
        ...installedBuilds(NAME, ['promise.js', 'callback.js']),
      ];
      const undo = builds.flatMap(build => cover(build, reporter));
      return takingBack(undo);
    },
  };
}

interface Pool {
  readonly opts: { readonly connectionLimit: number };
}

/** A build is looked into once: to look again would make another pool. */
const known = new WeakMap<object, MariadbClasses>();

function cover(build: unknown, reporter: QueryReporter): (() => void)[] {
  const key = build as Build;
  let classes = known.get(key);
  if (classes === undefined) known.set(key, (classes = learn(key)));
  const { pool, connection, callbackApi } = classes;
  if (pool === undefined || connection === undefined) {
    reporter.warn(`mariadb ${key.version ?? ''} is older than 3.4.1 or unknown: its queries are not counted`);
    return [];
  }
  return [
    // What a connection passes when it is given back, closed or lost.
    ...replaceMethod<EndLeak>(pool, '_endLeak', original => {
      return function endLeak(one) {
        if (isHeldByStopped(one)) endTransaction(one, reporter);
        reporter.released(one);
        return original.call(this, one);
      };
    }),
    ...replaceMethod<GetConnection>(pool, 'getConnection', original =>
      beginInPool(original, reporter, isReplaced(pool, '_endLeak')),
    ),
    ...replaceMethod<Connect>(connection, 'connect', original => {
      return function connect(...args) {
        return reporter.uncharged(() => original.apply(this, args));
      };
    }),
    ...replaceMethod<Send>(connection, 'query', original =>
      count(original, reporter, fn => whileCounted(fn)),
    ),
    ...replaceMethod<Send>(connection, 'executePromise', original =>
      count(original, reporter, fn => whileCounted(fn)),
    ),
    // These go on when the server has answered.
    ...replaceMethod<Send>(connection, 'prepareExecute', original =>
      count(original, reporter, fn => reporter.uncharged(fn)),
    ),
    ...replaceMethod<Send>(connection, 'batch', original =>
      count(original, reporter, fn => reporter.uncharged(fn)),
    ),
    ...countCommands(connection, reporter),
    ...(callbackApi === undefined
      ? []
      : replaceMethod<QueryCommand>(callbackApi, '_QUERY_CMD', original => {
          return function queryCommand(one, ...rest) {
            takeUp(one);
            return original.call(this, one, ...rest);
          };
        })),
  ];
}

function learn(build: Build): MariadbClasses {
  try {
    return mariadbClasses(build);
  } catch {
    return { pool: undefined, connection: undefined, callbackApi: undefined };
  }
}

/**
 * Begins a query where it is made, also when it then waits; the connection that sends it takes it over.
 *
 * A pool calls back in the context of whoever gives a connection back.
 */
function beginInPool(original: GetConnection, reporter: QueryReporter, knowsRelease: boolean): GetConnection {
  return function getConnection(params, callback) {
    if (typeof callback !== 'function') return original.call(this, params, callback);
    const acquisition = knowsRelease
      ? reporter.beginAcquisition(this, this.opts.connectionLimit, getConnection)
      : undefined;
    const { sql } = params;
    const isQuery = sql !== undefined;
    let handle: QueryHandle | undefined;
    if (isQuery) {
      try {
        const parameters = parametersOf(params.values, sql);
        handle = reporter.begin(sql, 'mysql', getConnection, parameters, acquisition);
      } catch (error) {
        process.nextTick(callback, error);
        return undefined;
      }
      params[BEGUN] = { handle };
    }
    let hasCalledBack = false;
    const bound = inContext((error: unknown, connection?: Connection) => {
      hasCalledBack = true;
      settle(acquisition, connection);
      if (error) handle?.end(0, true);
      else handle?.sent();
      // One that is not to be had is an error without a text.
      if (error && !isQuery) failed(reporter);
      if (connection !== undefined) takeUp(connection);
      return callback(error, connection);
    });
    const result = original.call(this, params, bound as Callback);
    if (!hasCalledBack) {
      handle?.queued();
      acquisition?.queued();
    }
    return result;
  };
}

function settle(acquisition: AcquisitionHandle | undefined, connection: object | undefined): void {
  if (connection === undefined) acquisition?.failed();
  else acquisition?.acquired(connection);
}

function failed(reporter: QueryReporter): void {
  try {
    reporter.begin(undefined, 'mysql', failed)?.end(0, true);
  } catch {
    // Beyond its budget; the application gets the error of the pool.
  }
}

function count(original: Send, reporter: QueryReporter, send: <T>(fn: () => T) => T): Send {
  return function query(...args) {
    // A prepared statement has what prepared it in between.
    const [params] = args;
    const [resolve, reject] = args.slice(-2) as [Callback, Callback];
    takeUp(this);
    let handle: QueryHandle | undefined;
    let isSentAfter = false;
    try {
      handle = beginOnce(params, params.sql, reporter, query, params.values, this);
    } catch (error) {
      isSentAfter = keepBack(this, reporter, error, () => reject(error));
      if (!isSentAfter) return undefined;
    }
    if (handle === undefined && !isSentAfter) return send(() => original.apply(this, args));
    const hasMeta = params.opts?.metaAsArray ?? this.opts.metaAsArray;
    const done = (result?: unknown): unknown => {
      if (handle !== undefined) (hasMeta ? endWithPair : endWith)(handle, result);
      return resolve(result);
    };
    const fail = (error: unknown): unknown => {
      handle?.end(0, true);
      return reject(error);
    };
    const own = params.callback === undefined ? [done, fail] : [inContext(done), inContext(fail)];
    return send(() => original.call(this, params, ...args.slice(1, -2), ...own));
  };
}
