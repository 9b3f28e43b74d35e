import type { EventEmitter } from 'node:events';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { QueryHandle } from '../../cost/query-handle';
import { replaceMethod } from '../../kernel/method-replacement';
import { isOutcome } from '../affected-rows';
import { beginOnce, type Connection, type Params } from './mariadb-params';
import { inContext } from '../../instrumentation/caller-context';
import { keepBack } from './mariadb-rollback';
import { type Column, endWithPair, namesOf } from './mariadb-rows';
import { RowBursts } from '../row-bursts';

type Callback = (...args: unknown[]) => unknown;
type AddCommand = (this: object, command: Command, ...rest: unknown[]) => unknown;

/** What a connection has in its queue. */
interface Command extends EventEmitter {
  readonly sql?: string;
  readonly initialValues?: unknown;
  /** Whether it is one of the protocol for prepared statements. */
  readonly binary?: boolean;
  readonly cmdParam?: Params | null;
  /** What a stream of rows is read from. */
  inStream?: EventEmitter;
  resolve: Callback | null;
  reject: Callback | null;
  /** Of the result that is being read. */
  readonly _columns?: readonly Column[] | null;
  readonly _responseIndex?: number;
  handleNewRows(row: unknown): unknown;
}

/** The queue of a connection before it is open, the two that it may have then, and that of a closed one. */
const QUEUES = ['addCommandQueue', 'addCommandEnable', 'addCommandEnablePipeline', 'addCommandDisabled'];

/** What is replaced, by its name: a connection that was opened before has kept it. */
const replaced = new WeakMap<object, string>();

/** Has a connection use what counts, if it was opened before. */
export function takeUp(connection: Connection): void {
  const queue = replaced.get(connection.addCommand as object);
  if (queue !== undefined) connection.addCommand = (connection as unknown as Record<string, unknown>)[queue];
}

let isCounted = false;

/** Says that the commands which `fn` queues are counted already. */
export function whileCounted<T>(fn: () => T): T {
  isCounted = true;
  try {
    return fn();
  } finally {
    isCounted = false;
  }
}

/** Counts what the APIs put into a connection's queue themselves: streams, `query()` with a callback, COMMIT. */
export function countCommands(connection: object, reporter: QueryReporter): (() => void)[] {
  return QUEUES.flatMap(queue =>
    replaceMethod<AddCommand>(connection, queue, original => {
      replaced.set(original, queue);
      return function addCommand(command, ...rest) {
        if (isCounted) return original.call(this, command, ...rest);
        let handle: QueryHandle | undefined;
        try {
          handle = isQuery(command) ? begin(command, this, reporter, addCommand) : undefined;
        } catch (error) {
          if (!keepBack(this, reporter, error, () => refuse(command, error))) return undefined;
        }
        bindToCaller(command, handle);
        return original.call(this, command, ...rest);
      };
    }),
  );
}

/** Not what prepares a statement, and no ping. */
function isQuery({ sql, binary, inStream }: Command): boolean {
  return typeof sql === 'string' && (binary === false || inStream !== undefined);
}

function begin(
  { cmdParam, sql, initialValues }: Command,
  connection: object,
  reporter: QueryReporter,
  stackBoundary: AddCommand,
): QueryHandle | undefined {
  return beginOnce(cmdParam, sql, reporter, stackBoundary, initialValues, connection);
}

function bindToCaller(command: Command, handle: QueryHandle | undefined): void {
  const { resolve, reject } = command;
  const hasCallback = typeof command.cmdParam?.callback === 'function';
  if (resolve !== null) {
    command.resolve = inContext((result: unknown, ...rest: unknown[]) => {
      // Of `query()` with a callback: rows, and what is known of their columns.
      if (hasCallback && handle !== undefined) endWithPair(handle, result);
      return resolve(result, ...rest);
    });
  }
  if (reject !== null) {
    command.reject = inContext((error: unknown) => {
      handle?.end(0, true);
      return reject(error);
    });
  }
  if (isQuery(command) && !hasCallback) bindEvents(command, handle);
}

/** Rows that come one by one: by the command's own events, or by those of a stream, which it may get later. */
function bindEvents(command: Command, handle: QueryHandle | undefined): void {
  let rows = 0;
  let { handleNewRows, inStream } = command;
  command.emit = inContext(command.emit.bind(command)) as Command['emit'];
  if (handle !== undefined) {
    const bursts = new RowBursts(handle, () => (command._columns ? namesOf(command._columns) : undefined));
    command.once('end', error => {
      bursts.show();
      handle.end(rows, error !== undefined);
    });
    const seeRow: Command['handleNewRows'] = function (this: Command, row) {
      if (isOutcome(row)) rows += row.affectedRows;
      else {
        rows += 1;
        bursts.add(row, command._responseIndex ?? 0);
      }
      return handleNewRows.call(this, row);
    };
    Object.defineProperty(command, 'handleNewRows', {
      configurable: true,
      get: () => seeRow,
      set: (next: typeof handleNewRows) => {
        handleNewRows = next;
      },
    });
  }
  const bind = (stream: EventEmitter | undefined): void => {
    inStream = stream;
    if (stream !== undefined) stream.emit = inContext(stream.emit.bind(stream)) as EventEmitter['emit'];
  };
  bind(inStream);
  Object.defineProperty(command, 'inStream', { configurable: true, get: () => inStream, set: bind });
}

/** As the driver does with what it cannot send. */
function refuse(command: Command, error: unknown): void {
  command.reject?.(error);
  command.emit('end', error);
}
