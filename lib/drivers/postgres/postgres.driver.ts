import type { Columns } from '../../cost/evidence/kept-results';
import { contextStorage } from '../../context/context-storage';
import { undoOf } from '../../budget/refused-commit';
import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { QueryHandle } from '../../cost/query-handle';
import { inContext } from '../../instrumentation/caller-context';
import { installedBuilds, loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { type PostgresQuery, rowOfText, rowsOf, sentBy, showRows } from './postgres-query';

const NAME = 'postgres';
const HANDLE = Symbol('nestjs-async-context.handle');
const STATE = Symbol('nestjs-async-context.state');
/** Rows that have come in batches: the last answer counts those of the last one. */
const CAME = Symbol('nestjs-async-context.came');

type Query = PostgresQuery & { [HANDLE]?: QueryHandle | undefined; [STATE]?: unknown; [CAME]?: number };
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
      const { text, parameters } = sentBy(this);
      const counted = reporter.begin(text, 'postgresql', handle, parameters, this.handler);
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
    // The last rows of a cursor were shown as its last batch.
    if (cursorFn === undefined) showRows(handle, result, query.isRaw);
    handle.end(query[CAME] ?? rowsOf(result));
    return resolve.call(query, result);
  };
  query.reject = error => {
    handle.end(0, true);
    // From Node 24 on a rejection that nobody handles is that of who rejects: the shared connection.
    return contextStorage.run(captured, () => reject.call(query, error));
  };
  // They are called from the socket, in the context of whoever opened it.
  if (forEachFn !== undefined) {
    query.forEachFn = inContext((row, ...rest) => {
      showRow(handle, row, rest[0], query.isRaw);
      return forEachFn.call(query, row, ...rest);
    });
  }
  if (cursorFn !== undefined) query.cursorFn = inContext(cursorFn);
}

/** One of those that `forEach()` and a cursor give, with the result that it is of. */
function showRow(handle: QueryHandle, row: unknown, result: unknown, isRaw: PostgresQuery['isRaw']): void {
  if (!Array.isArray(row)) return handle.returnedOne(row);
  const { columns } = (result ?? {}) as { columns?: Columns };
  return handle.returnedOne(isRaw === true ? rowOfText(row) : row, columns);
}

/** An iterated cursor has another `resolve()` for each batch. */
function countBatches(original: Cursor): Cursor {
  return function cursor(rows, fn) {
    const result = original.call(this, rows, fn);
    if (result === this) {
      const { cursorFn } = this;
      this.cursorFn = (batch, ...rest) => {
        showBatch(this, batch);
        return cursorFn?.call(this, batch, ...rest);
      };
      return result;
    }
    const iterable = result as { [Symbol.asyncIterator](): AsyncIterator<unknown[]> };
    const iterate = iterable[Symbol.asyncIterator];
    iterable[Symbol.asyncIterator] = () => {
      const iterator = iterate.call(iterable);
      const { next } = iterator;
      const finish = iterator.return;
      iterator.next = async () => {
        const batch = await next.call(iterator);
        if (batch.done === true) this[HANDLE]?.end(this[CAME] ?? 0);
        else showBatch(this, batch.value);
        return batch;
      };
      iterator.return = async () => {
        this[HANDLE]?.end(this[CAME] ?? 0);
        return (await finish?.call(iterator)) ?? { done: true, value: undefined };
      };
      return iterator;
    };
    return iterable;
  };
}

function showBatch(query: Query, batch: unknown): void {
  const handle = query[HANDLE];
  if (handle === undefined || !Array.isArray(batch)) return;
  query[CAME] = (query[CAME] ?? 0) + batch.length;
  // By default a batch is of one row.
  for (const row of batch) showRow(handle, row, batch, query.isRaw);
  handle.received(batch.length);
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
