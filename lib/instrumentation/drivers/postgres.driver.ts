import { contextStorage } from '../../context/context-storage';
import { undoOf } from '../../budget/refused-commit';
import type { DriverInstrumentation, QueryHandle, QueryReporter } from '../driver-instrumentation';
import { inContext } from '../caller-context';
import { installedBuilds, loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';
import { takingBack } from '../take-back';
import { parametersOf, rowsOf, textOf, type PostgresQuery } from './postgres-query';

const NAME = 'postgres';
const HANDLE = Symbol('nestjs-async-context.handle');
const STATE = Symbol('nestjs-async-context.state');

type Query = PostgresQuery & { [HANDLE]?: QueryHandle | undefined; [STATE]?: unknown };
type Handle = (this: Query) => Promise<unknown>;
type Cursor = (this: Query, rows?: unknown, fn?: unknown) => unknown;

/** What `postgresInstrumentation()` of the package installs. */
export function postgresInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      // The build for `import` and the one for `require` have a class each.
      const builds = [...loadedCopies(NAME, 'cjs/src/query.js'), ...installedBuilds(NAME, ['src/query.js'])];
      const undo = builds.flatMap(build => cover(build, reporter));
      return takingBack(undo);
    },
  };
}

function cover(build: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = (build as { Query?: { prototype: object } }).Query ?? {};
  if (prototype === undefined || !('handle' in prototype)) {
    reporter.warn('this version of postgres has no Query#handle, so its queries are not counted');
    return [];
  }
  const undo = [
    ...replaceMethod<Handle>(prototype, 'handle', original => countOnce(original, reporter)),
    ...replaceMethod<Cursor>(prototype, 'cursor', countBatches),
  ];
  return undo.length === 0 ? [] : [...undo, watchState(prototype)];
}

function countOnce(original: Handle, reporter: QueryReporter): Handle {
  return function handle() {
    // What a new connection asks for itself, the types of the database, has another handler.
    if (this.executed || this.handler.name === 'execute') return original.call(this);
    try {
      const counted = reporter.begin(
        textOf(this),
        'postgresql',
        handle,
        parametersOf(this.args),
        this.handler,
      );
      counted?.queued();
      this[HANDLE] = counted;
      if (counted !== undefined) watch(this, counted);
    } catch (error) {
      if (undoOf(error) === 'instead') {
        rollBackInstead(this, error);
        return original.call(this);
      }
      this.executed = true;
      this.reject(error);
      return Promise.resolve();
    }
    return original.call(this);
  };
}

/**
 * Sends a ROLLBACK in the place of a COMMIT, and rejects with what has kept that back. The connection of
 * `sql.begin()` goes back to the pool as soon as the server says that the transaction is over.
 */
function rollBackInstead(query: Query, error: unknown): void {
  const { reject } = query;
  const fail = inContext((): unknown => reject.call(query, error));
  Object.assign(query, { strings: ['ROLLBACK'], args: [], resolve: fail, reject: fail });
}

/** Not by `then()`: that would hide an unhandled rejection. */
function watch(query: Query, handle: QueryHandle): void {
  const { resolve, reject, forEachFn, cursorFn } = query;
  const captured = contextStorage.capture();
  query.resolve = result => {
    handle.end(rowsOf(result));
    return resolve.call(query, result);
  };
  query.reject = error => {
    handle.end(0, true);
    // From Node 24 on a rejection that nobody handles is that of who rejects: the shared connection.
    return contextStorage.run(captured, () => reject.call(query, error));
  };
  // They are called from the socket, in the context of whoever opened it.
  if (forEachFn !== undefined) query.forEachFn = inContext(forEachFn);
  if (cursorFn !== undefined) query.cursorFn = inContext(cursorFn);
}

/** An iterated cursor has another `resolve()` for each batch. */
function countBatches(original: Cursor): Cursor {
  return function cursor(rows, fn) {
    const result = original.call(this, rows, fn);
    if (result === this) return result;
    const iterable = result as { [Symbol.asyncIterator](): AsyncIterator<unknown[]> };
    const iterate = iterable[Symbol.asyncIterator];
    iterable[Symbol.asyncIterator] = () => {
      const iterator = iterate.call(iterable);
      const { next } = iterator;
      const finish = iterator.return;
      let count = 0;
      iterator.next = async () => {
        const batch = await next.call(iterator);
        if (batch.done === true) this[HANDLE]?.end(count);
        else count += batch.value.length;
        return batch;
      };
      iterator.return = async () => {
        this[HANDLE]?.end(count);
        return (await finish?.call(iterator)) ?? { done: true, value: undefined };
      };
      return iterator;
    };
    return iterable;
  };
}

/** A connection says by `query.state` that it takes the query: until then it has waited. */
function watchState(prototype: object): () => void {
  Object.defineProperty(prototype, 'state', {
    configurable: true,
    get(this: Query) {
      return this[STATE];
    },
    set(this: Query, state: unknown) {
      this[STATE] = state;
      if (state !== null) this[HANDLE]?.sent();
    },
  });
  return () => Reflect.deleteProperty(prototype, 'state');
}
