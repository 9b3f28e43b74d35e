import { inContext } from '../../instrumentation/caller-context';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { StackBoundary, QueryHandle } from '../../cost/query-handle';
import { replaceMethod, replaceMethods } from '../../kernel/method-replacement';
import { watchedAbove } from './tarn.driver';
import { COUNTED, type Counted } from './tedious-request';

type Callback = (error?: unknown, ...results: unknown[]) => unknown;
type Call = (this: Request, command: unknown, ...rest: [...unknown[], Callback]) => unknown;
type Acquire = (this: object, requester?: Counting, callback?: Callback) => unknown;

/** A request of `mssql`, and the connection that it gets. */
interface Counting {
  [COUNTED]?: Counted | undefined;
}

interface Request extends Counting {
  readonly parameters: Readonly<Record<string, { readonly value: unknown }>>;
  /** A pool, a transaction, or what was prepared, which has its text. */
  readonly parent?: { readonly statement?: unknown } | undefined;
}

/** What makes a text of what is called: a text, a procedure, a table. Without one it is not counted. */
const TEXTS: Readonly<Record<string, (command: unknown, request: Request) => string | undefined>> = {
  // A batch as well.
  _query: text => (typeof text === 'string' ? text : undefined),
  _execute: (procedure, { parent }) => {
    if (typeof parent?.statement !== 'string') return `EXEC ${String(procedure)}`;
    return procedure === 'sp_execute' ? parent.statement : undefined;
  },
  _bulk: table => `INSERT INTO ${(table as { path?: string } | undefined)?.path} VALUES (?)`,
};

/**
 * Begins a query where `mssql` is called: when it has its connection, and `tedious` sends it, the caller
 * is no longer on the stack, and others that were made at once may be over.
 */
export function countCalls(request: object, reporter: QueryReporter): (() => void)[] {
  return Object.entries(TEXTS).flatMap(([name, textOf]) =>
    replaceMethod<Call>(request, name, original => {
      return function call(command, ...rest) {
        const callback = rest.pop() as Callback;
        const text = textOf(command, this);
        if (text === undefined) return original.call(this, command, ...rest, callback);
        let handle: QueryHandle | undefined;
        try {
          handle = reporter.begin(text, 'mssql', call, valuesOf(this), this.parent);
        } catch (error) {
          setImmediate(callback, error);
          return undefined;
        }
        handle?.queued();
        const counted: Counted = { handle, isBulk: name === '_bulk' };
        this[COUNTED] = counted;
        // Up to `mssql` 11 a connection that is lost calls back by itself.
        const back = inContext(callback);
        return original.call(this, command, ...rest, (error?: unknown, ...results: unknown[]) => {
          counted.isOver = true;
          // What was sent has ended before: this is for what never was.
          handle?.end(0, Boolean(error));
          return back(error, ...results);
        });
      };
    }),
  );
}

/** By their names, as the places in the text have them; of what was prepared without the handle that says which it is. */
function valuesOf({ parameters, parent }: Request): Record<string, unknown> {
  const named = Object.entries(parameters).map(([name, { value }]) => [name, value] as const);
  return Object.fromEntries(typeof parent?.statement === 'string' ? named.slice(1) : named);
}

/** Tells a connection what it is given away for: by a pool, a transaction, or what was prepared. */
export function followCalls(
  parents: readonly object[],
  reporter: QueryReporter,
  isPool: boolean,
): (() => void)[] {
  return replaceMethods<Acquire>(parents, 'acquire', original => {
    return function acquire(requester, callback) {
      const counted = requester?.[COUNTED];
      const endWait = isPool && counted === undefined ? beginWait(reporter, acquire) : undefined;
      // What it holds is in a call of `mssql`, which the pool below does not know.
      const send = (...args: Parameters<Acquire>): unknown => watchedAbove(() => original.apply(this, args));
      const give = (connection: unknown): void => {
        endWait?.(!connection);
        if (connection) (connection as Counting)[COUNTED] = counted;
      };
      if (typeof callback === 'function') {
        return send(requester, (error, connection, ...rest) => {
          give(connection);
          return callback(error, connection, ...rest);
        });
      }
      const acquired = send(requester) as Promise<unknown>;
      return acquired.then(
        connection => {
          give(connection);
          return connection;
        },
        (error: unknown) => {
          give(undefined);
          throw error;
        },
      );
    };
  });
}

/** For a connection that is asked for by itself: to begin a transaction, or to prepare something. */
function beginWait(reporter: QueryReporter, stackBoundary: StackBoundary): (failed: boolean) => void {
  const wait = reporter.beginWait();
  return failed => {
    wait?.end();
    if (!failed) return;
    try {
      // What it was for is not sent: it is known by its error alone.
      reporter.begin(undefined, 'mssql', stackBoundary)?.end(0, true);
    } catch {
      // A budget that throws: there is nothing left to be kept back.
    }
  };
}
