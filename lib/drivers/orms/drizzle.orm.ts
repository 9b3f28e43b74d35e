import { contextStorage } from '../../context/context-storage';
import { runOrmCall, runOrmCallAtOnce } from '../../cost/orm-call';
import type { DriverInstrumentation } from '../../instrumentation/driver-instrumentation';
import { installedBuilds, installedFolder, isInstalled, loadedCopies } from '../../kernel/loaded-copies';
import { loadedFiles } from '../../kernel/loaded-files';
import { prototypesOf, replaceMethod } from '../../kernel/method-replacement';
import { isOwnDependency } from '../../instrumentation/own-dependencies';
import { takingBack } from '../../kernel/take-back';

const NAME = 'drizzle-orm';

/** Where it says of which class an object is, whatever a minifier has called that. */
const KIND = Symbol.for('drizzle:entityKind');
/** Sessions whose queries are handed to the driver before `execute()` gives back a promise. */
const AT_ONCE = new Set(['NodePgSession', 'PgliteSession', 'MySql2Session', 'BetterSQLiteSession']);

interface QueryPromise {
  readonly session?: { readonly cache?: object };
  execute(): Promise<unknown>;
}

type Then = (this: QueryPromise, onFulfilled?: unknown, onRejected?: unknown) => unknown;

/** The class of its thenables, and those that have got a copy of its methods rather than inherited them. */
const FILES = [
  ['query-promise', 'QueryPromise'],
  ['pg-core/query-builders/select', 'PgSelectBase'],
  ['mysql-core/query-builders/select', 'MySqlSelectBase'],
  ['sqlite-core/query-builders/select', 'SQLiteSelectBase'],
] as const;

/**
 * Notes who awaits the queries of Drizzle: it sends them when their `then()` is called, which `await` does in a turn of
 * its own.
 */
export function drizzleCalls(): DriverInstrumentation {
  return {
    name: `${NAME} calls`,
    install() {
      const undo = buildsOf().flatMap(([build, name]) =>
        prototypesOf((build as Record<string, unknown>)[name]).flatMap(cover),
      );
      return takingBack(undo);
    },
  };
}

function buildsOf(): [build: unknown, name: string][] {
  const loaded = FILES.flatMap(([file, name]) =>
    loadedCopies(NAME, `${file}.cjs`).map((build): [unknown, string] => [build, name]),
  );
  if (loadedFiles(NAME).some(path => path.endsWith('.cjs')) || !isUsed()) return loaded;
  return FILES.filter(([file]) => hasDriver(file)).flatMap(([file, name]) =>
    installedBuilds(NAME, [`${file}.js`]).map((build): [unknown, string] => [build, name]),
  );
}

/** No cache lists its ES module build, and to load all of it for nothing takes half a second. */
function isUsed(): boolean {
  const folder = installedFolder(NAME);
  return folder !== undefined && isOwnDependency(NAME, folder);
}

function hasDriver(file: string): boolean {
  if (file.startsWith('mysql')) return loadedFiles('mysql2').length > 0;
  if (file.startsWith('sqlite')) return loadedFiles('better-sqlite3').length > 0;
  return (
    !file.startsWith('pg') ||
    loadedFiles('pg').length > 0 ||
    isInstalled('postgres') ||
    isInstalled('@electric-sql/pglite')
  );
}

function cover(prototype: object): (() => void)[] {
  return replaceMethod<Then>(prototype, 'then', original => {
    // Another version may do more than this.
    const isKnown = /^then\((\w+), (\w+)\) \{\s*return this\.execute\(\)\.then\(\1, \2\);\s*\}$/.test(
      Function.prototype.toString.call(original),
    );
    return function then(onFulfilled, onRejected) {
      if (!isKnown || contextStorage.getStore() === undefined)
        return original.call(this, onFulfilled, onRejected);
      const run = isSentAtOnce(this) ? runOrmCallAtOnce : runOrmCall;
      return run(() => this.execute()).then(onFulfilled as never, onRejected as never);
    };
  });
}

function isSentAtOnce({ session }: QueryPromise): boolean {
  const cache = session?.cache;
  // What is in a cache is looked for first, in a turn of its own.
  return AT_ONCE.has(kindOf(session) ?? '') && (cache === undefined || kindOf(cache) === 'NoopCache');
}

function kindOf(object: object | undefined): string | undefined {
  return (object?.constructor as { [KIND]?: string } | undefined)?.[KIND];
}
