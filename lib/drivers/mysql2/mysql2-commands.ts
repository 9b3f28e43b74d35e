import { errorMonitor } from 'node:events';
import { currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import { callAndNote } from '../../context/thrown-context';
import { undoOf } from '../../budget/refused-commit';
import { inContext } from '../../instrumentation/caller-context';
import { isPlain, ownValue } from '../../cost/evidence/nested-values';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { QueryHandle } from '../../cost/query-handle';
import { replaceMethods } from '../../kernel/method-replacement';
import { isOutcome, rowsOf } from '../affected-rows';
import { columnsOf, type Parsed, showRows } from './mysql2-rows';
import { RowBursts } from '../row-bursts';

type Callback = (this: unknown, error: unknown, result?: unknown, ...rest: unknown[]) => unknown;
type Make = (this: object, sql: unknown, ...rest: unknown[]) => Command | undefined;
type AddCommand = (this: object, command: Command) => unknown;

interface Connection {
  query(text: string, callback: () => void): unknown;
}

/** What a connection has in its queue: without a callback, the application listens to its events. */
interface Command extends NodeJS.EventEmitter, Parsed {
  onResult?: Callback;
  /** Of an execution: what was prepared, or nothing yet when the driver prepares it itself. */
  readonly statement?: { readonly query: string };
  readonly parameters?: unknown;
}

/** The call of `query()` or `execute()` that is being made. */
export interface CommandInMaking {
  /** As the application wrote it, with `?` for its values. */
  readonly text: string | undefined;
  readonly connection: object;
  /** The values by their names, where the application gave such: the driver publishes the list that it makes of them. */
  readonly named: object | undefined;
  command: Parsed | undefined;
  handle: QueryHandle | undefined;
  /** Rows that come as events: the driver publishes those that it gives to a callback only. */
  events: RowEvents | undefined;
  /** Why it may not be sent. */
  refusal: unknown;
}

/** The rows of a command that gives them one by one. */
interface RowEvents {
  /** Says that there are no more; how many there were. */
  end(): number;
}

let inMaking: CommandInMaking | undefined;

/** The call that is being made, for the message that the driver publishes in the course of it. */
export function commandInMaking(): CommandInMaking | undefined {
  return inMaking;
}

/** Adds to what the driver publishes, where that is not enough. */
export function replaceCommands(prototypes: readonly object[], reporter: QueryReporter): (() => void)[] {
  return [
    ...replaceMethods<Make>(prototypes, 'query', noteMaking),
    ...replaceMethods<Make>(prototypes, 'execute', noteMaking),
    ...replaceMethods<AddCommand>(prototypes, 'addCommand', original => gate(original, reporter)),
  ];
}

function noteMaking(original: Make): Make {
  return function make(sql, ...rest) {
    const text = textOf(sql);
    const call: CommandInMaking = {
      text,
      connection: this,
      named: text?.includes(':') === true ? namedValues(sql, rest[0]) : undefined,
      command: undefined,
      handle: undefined,
      events: undefined,
      refusal: undefined,
    };
    const outer = inMaking;
    inMaking = call;
    try {
      const command = original.call(this, sql, ...rest);
      call.command = command;
      if (command !== undefined && command.onResult === undefined && call.handle !== undefined) {
        call.events = watchEvents(command, call.handle);
      }
      return command;
    } finally {
      inMaking = outer;
    }
  };
}

/** A name that is written in, `??`, is told from the finished text. */
function textOf(sql: unknown): string | undefined {
  const text = typeof sql === 'string' ? sql : (sql as { sql?: unknown } | undefined)?.sql;
  return typeof text === 'string' && !text.includes('??') ? text : undefined;
}

/** Values that have names, as the application gave them; its getters are the driver's to call. */
function namedValues(sql: unknown, values: unknown): object | undefined {
  try {
    const given =
      typeof sql === 'object' && sql !== null && !isPlain(values) ? ownValue(sql, 'values') : values;
    return isPlain(given) ? given : undefined;
  } catch {
    // A proxy of the application's; the driver will meet it as well.
    return undefined;
  }
}

/** Before a stream, which a command of a pool may have by now: what it hands on is asked for next. */
function watchEvents(command: Command, handle: QueryHandle): RowEvents {
  const bursts = new RowBursts(handle, result => columnsOf(command, result));
  let rows = 0;
  command.prependListener('result', (row: unknown, result = 0) => {
    if (isOutcome(row)) rows += row.affectedRows;
    else {
      rows += 1;
      bursts.add(row, result);
    }
  });
  return {
    end() {
      bursts.show();
      return rows;
    },
  };
}

/** What every command passes on its way to the connection's queue. */
function gate(original: AddCommand, reporter: QueryReporter): AddCommand {
  return function addCommand(command) {
    try {
      if (inMaking === undefined) begin(command, this, reporter, addCommand);
      else noteCallback(command);
    } catch (error) {
      return keepBack(original, command, this, reporter, error);
    }
    if (inMaking?.refusal === undefined) return original.call(this, command);
    // Of `execute()`: what prepares it is not sent either, and its own callback is not the application's.
    if (command.constructor.name === 'Prepare' && undoOf(inMaking.refusal) !== 'first') return command;
    return keepBack(original, command, this, reporter, inMaking.refusal);
  };
}

/** Gives the error to the caller in place of sending a command; that of a COMMIT when all is rolled back. */
function keepBack(
  send: AddCommand,
  command: Command,
  connection: object,
  reporter: QueryReporter,
  error: unknown,
): unknown {
  const undo = undoOf(error);
  if (undo === undefined) {
    process.nextTick(fail, command, error);
    return command;
  }
  const done = undo === 'instead' ? inContext(() => fail(command, error)) : (): void => undefined;
  // Or what a callback asks for next would be that of who has opened the connection, and be sent.
  if (undo === 'first' && command.onResult !== undefined) command.onResult = inContext(command.onResult);
  reporter.uncharged(() => (connection as Connection).query('ROLLBACK', done));
  return undo === 'first' ? send.call(connection, command) : command;
}

/** What the driver publishes runs the callback in its context already. */
function noteCallback(command: Command): void {
  const { onResult } = command;
  const captured = contextStorage.capture();
  if (onResult === undefined || captured === undefined) return;
  const redirect = currentRedirect();
  command.onResult = function (...args) {
    return callAndNote(captured, () => runAgain(redirect, () => onResult.apply(this, args)));
  };
}

/** Nothing is published of an execution of what `prepare()` gave; and without that, a callback loses its context. */
function begin(
  command: Command,
  connection: object,
  reporter: QueryReporter,
  stackBoundary: AddCommand,
): void {
  const { statement, parameters, onResult } = command;
  const handle = statement && reporter.begin(statement.query, 'mysql', stackBoundary, parameters, connection);
  const captured = contextStorage.capture();
  if (onResult !== undefined && captured !== undefined) {
    const back = inContext(onResult);
    command.onResult = function (...args) {
      const [error, result] = args;
      if (error) handle?.end(0, true);
      else if (handle !== undefined) endWith(handle, result, command);
      return back.apply(this, args);
    };
  } else if (handle !== undefined) {
    const events = watchEvents(command, handle);
    command.on(errorMonitor, () => handle.end(events.end(), true));
    command.on('end', () => handle.end(events.end()));
  }
}

/** Ends the handle with a result that the application has not seen yet. */
export function endWith(handle: QueryHandle, result: unknown, command: Parsed | undefined): void {
  showRows(handle, result, command);
  handle.end(rowsOf(result));
}

/** As the driver does when the server refuses. */
function fail(command: Command, error: unknown): void {
  if (command.onResult === undefined) command.emit('error', error);
  else command.onResult(error);
  command.emit('end');
}
