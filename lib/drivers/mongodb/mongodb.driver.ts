import { undoOf } from '../../budget/refused-commit';
import type { Statement } from '../../sql/statement';
import type { GivenValues } from '../../cost/evidence/operation-values';
import type { DriverInstrumentation, OwnQueryReporter } from '../../instrumentation/driver-instrumentation';
import type { OwnQueryHandle } from '../../cost/query-handle';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { type Command, describeCommand, nameOf, outcomeOf, parametersOf } from './mongodb-operation';
import { showDocuments } from './mongodb-rows';
import { valuesOf } from './mongodb-values';
import { sharedName } from '../../kernel/protocol';
import { takingBack } from '../../kernel/take-back';

const NAME = 'mongodb';
const NO_COMMAND: Statement = Object.freeze({ shape: '?', table: undefined, operation: '?', kind: 'read' });

type SendCommand = (this: Connection, ns: unknown, command: Command, ...rest: unknown[]) => Promise<unknown>;
type CheckOut = (this: Pool, ...args: unknown[]) => Promise<Connection>;
type CheckIn = (this: Pool, connection: Connection, ...rest: unknown[]) => unknown;

/** On a connection that was given back: one that is free is not asked for by a call that could be watched. */
const POOL = Symbol.for(sharedName('mongodb-pool'));

interface Connection {
  [POOL]?: Pool;
}

interface Pool {
  readonly options?: { readonly maxPoolSize?: number };
  readonly availableConnectionCount?: number;
  readonly waitQueueSize?: number;
  readonly poolState?: string;
}

/** What `mongodbInstrumentation()` of the package installs. */
export function mongodbInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(given) {
      const reporter = given as OwnQueryReporter;
      const undo = [
        ...replaceIn<SendCommand>('lib/cmap/connection.js', 'Connection', 'command', reporter, countCommands),
        ...replaceIn<CheckOut>(
          'lib/cmap/connection_pool.js',
          'ConnectionPool',
          'checkOut',
          reporter,
          countWaits,
        ),
        ...replaceIn<CheckIn>(
          'lib/cmap/connection_pool.js',
          'ConnectionPool',
          'checkIn',
          reporter,
          noteRelease,
        ),
      ];
      return takingBack(undo);
    },
  };
}

function replaceIn<F extends (...args: never[]) => unknown>(
  file: string,
  className: string,
  method: string,
  reporter: OwnQueryReporter,
  make: (reporter: OwnQueryReporter) => (original: F) => F,
): (() => void)[] {
  return loadedCopies(NAME, file).flatMap(copy => {
    const { prototype } = (copy as Record<string, { prototype?: object } | undefined>)[className] ?? {};
    if (prototype !== undefined && method in prototype)
      return replaceMethod<F>(prototype, method, make(reporter));
    reporter.warn(`this version of mongodb has no ${className}#${method}, so what it sends is not counted`);
    return [];
  });
}

/** The collection of one database is not that of another. */
function inDatabase(ns: unknown, parameters: unknown): unknown {
  return parameters === undefined ? undefined : [databaseOf(ns), parameters];
}

function databaseOf(ns: unknown): unknown {
  return (ns as { db?: unknown } | undefined)?.db;
}

function countCommands(reporter: OwnQueryReporter): (original: SendCommand) => SendCommand {
  return original =>
    function command(ns, command_, ...rest) {
      let handle: OwnQueryHandle | undefined;
      const statement = describe(command_);
      try {
        const pool = this[POOL];
        if (pool !== undefined) reporter.beginAcquisition(pool, sizeOf(pool), command)?.acquired(this);
        handle =
          statement &&
          reporter.beginOperation(
            statement,
            command,
            inDatabase(ns, parametersOf(command_)),
            this,
            readableValues(command_, ns),
          );
      } catch (error) {
        if (undoOf(error) !== 'instead') return Promise.reject(error as Error);
        const fail = (): never => {
          throw error;
        };
        const { commitTransaction: _, ...others } = command_;
        return original.call(this, ns, { abortTransaction: 1, ...others }, ...rest).then(fail, fail);
      }
      const answer = original.call(this, ns, command_, ...rest);
      if (handle === undefined) return answer;
      return answer.then(
        value => {
          finish(handle, command_, value);
          return value;
        },
        (error: unknown) => {
          handle.end(0, true);
          throw error;
        },
      );
    };
}

/** The application may write any command: one that cannot be read is counted all the same. */
function describe(command: Command): Statement | undefined {
  try {
    return describeCommand(command);
  } catch {
    return NO_COMMAND;
  }
}

function readableValues(command: Command, ns: unknown): GivenValues | undefined {
  try {
    return valuesOf(command, databaseOf(ns));
  } catch {
    return undefined;
  }
}

function finish(handle: OwnQueryHandle, command: Command, answer: unknown): void {
  const name = nameOf(command);
  const [rows, failed, bytes] = outcomeOf(name, answer);
  try {
    if (!failed) showDocuments(handle, name, command, answer, rows);
  } catch {
    // Its documents are not compared with anything.
  }
  handle.end(rows, failed, bytes);
}

/** Each command asks the pool for a connection first. */
function countWaits(reporter: OwnQueryReporter): (original: CheckOut) => CheckOut {
  return original =>
    function checkOut(...args) {
      if (hasFree(this)) return original.apply(this, args);
      const acquisition = reporter.beginAcquisition(this, sizeOf(this), checkOut);
      acquisition?.queued();
      const connection = original.apply(this, args);
      if (acquisition === undefined) return connection;
      return connection.then(
        value => {
          acquisition.acquired(value);
          return value;
        },
        (error: unknown) => {
          acquisition.failed();
          // The command that waited is not made: it is known by its error alone.
          reporter.beginOperation(NO_COMMAND, checkOut)?.end(0, true);
          throw error;
        },
      );
    };
}

/** 0 is no limit. */
function sizeOf({ options }: Pool): number {
  return options?.maxPoolSize || Infinity;
}

function noteRelease(reporter: OwnQueryReporter): (original: CheckIn) => CheckIn {
  return original =>
    function checkIn(connection, ...rest) {
      reporter.released(connection);
      connection[POOL] = this;
      return original.call(this, connection, ...rest);
    };
}

/** Most find a free connection, and need no measuring: a promise more costs as much as the counting. */
function hasFree({ availableConnectionCount = 0, waitQueueSize = 0, poolState }: Pool): boolean {
  return poolState === 'ready' && availableConnectionCount > waitQueueSize;
}
