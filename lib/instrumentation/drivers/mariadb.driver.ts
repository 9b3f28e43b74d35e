import type { DriverInstrumentation, QueryHandle, QueryReporter } from '../driver-instrumentation';
import { installedBuilds, loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';
import { rowsOf } from './affected-rows';
import { type MariadbClasses, mariadbClasses } from './mariadb-classes';
import { countCommands, whileCounted } from './mariadb-commands';
import { inContext } from '../caller-context';

const NAME = 'mariadb';

type Callback = (...args: unknown[]) => unknown;
type GetConnection = (this: object, params: Params, callback: Callback) => unknown;
type Connect = (this: object, ...args: unknown[]) => unknown;
type Send = (this: object, params: Params, ...rest: unknown[]) => unknown;

/** What the application asks for, as both APIs hand it to the connection. */
interface Params {
  readonly sql?: string;
  readonly values?: unknown;
  /** The application's own, of the API with callbacks; of the other, there is a promise. */
  readonly callback?: unknown;
  readonly opts?: { readonly metaAsArray?: boolean };
}

/**
 * Counts the queries of `mariadb`, with promises and with callbacks, and so of Sequelize on it. What a
 * connection asks for itself, its pings, and files that are imported are not counted.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [mariadbInstrumentation()] });
 */
export function mariadbInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const builds = [
        ...loadedCopies(NAME, 'dist/promise.cjs'),
        ...loadedCopies(NAME, 'dist/callback.cjs'),
        ...installedBuilds(NAME, ['promise.js', 'callback.js']),
      ];
      const undo = builds.flatMap(build => cover(build, reporter));
      return undo.length === 0 ? undefined : () => undo.forEach(takeBack => takeBack());
    },
  };
}

/** A build is looked into once: to look again would make another pool. */
const known = new WeakMap<object, MariadbClasses>();

function cover(build: unknown, reporter: QueryReporter): (() => void)[] {
  const key = build as Parameters<typeof mariadbClasses>[0];
  let classes = known.get(key);
  if (classes === undefined) known.set(key, (classes = learn(key)));
  const { pool, connection } = classes;
  if (pool === undefined || connection === undefined) {
    reporter.warn('the classes of this version of mariadb are not known, so its queries are not counted');
    return [];
  }
  return [
    ...replaceMethod<GetConnection>(pool, 'getConnection', original => bindToCaller(original, reporter)),
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
  ];
}

function learn(build: Parameters<typeof mariadbClasses>[0]): MariadbClasses {
  try {
    return mariadbClasses(build);
  } catch {
    return { pool: undefined, connection: undefined };
  }
}

/** A pool calls back in the context of whoever gives a connection back. */
function bindToCaller(original: GetConnection, reporter: QueryReporter): GetConnection {
  return function getConnection(params, callback) {
    if (typeof callback !== 'function') return original.call(this, params, callback);
    const wait = reporter.beginWait();
    const bound = inContext((error: unknown, ...rest: unknown[]) => {
      wait?.end();
      if (error) failed(reporter, params, getConnection);
      return callback(error, ...rest);
    });
    return original.call(this, params, bound);
  };
}

/** The query that waited is not made: it is known by its error. */
function failed(reporter: QueryReporter, params: Params, below: GetConnection): void {
  try {
    reporter.begin(params.sql, 'mysql', below)?.end(0, true);
  } catch {
    // Beyond its budget; the application gets the error of the pool.
  }
}

function count(original: Send, reporter: QueryReporter, send: <T>(fn: () => T) => T): Send {
  return function query(...args) {
    // A prepared statement has what prepared it in between.
    const [params] = args;
    const [resolve, reject] = args.slice(-2) as [Callback, Callback];
    let handle: QueryHandle | undefined;
    try {
      handle = params.sql ? reporter.begin(params.sql, 'mysql', query, params.values) : undefined;
    } catch (error) {
      process.nextTick(params.callback === undefined ? reject : inContext(reject), error);
      return undefined;
    }
    if (handle === undefined) return send(() => original.apply(this, args));
    const done = (result?: unknown): unknown => {
      handle.end(rowsOf(hasMeta(params) ? (result as unknown[] | undefined)?.[0] : result));
      return resolve(result);
    };
    const fail = (error: unknown): unknown => {
      handle.end(0, true);
      return reject(error);
    };
    const own = params.callback === undefined ? [done, fail] : [inContext(done), inContext(fail)];
    return send(() => original.call(this, params, ...args.slice(1, -2), ...own));
  };
}

const hasMeta = ({ opts }: Params): boolean => opts?.metaAsArray === true;
