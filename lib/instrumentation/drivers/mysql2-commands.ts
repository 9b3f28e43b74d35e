import { errorMonitor } from 'node:events';
import { currentAside, runAgain } from '../../context/aside';
import { contextStorage } from '../../context/context-storage';
import { callAndNote } from '../../context/thrown-context';
import { undoOf } from '../../budget/refused-commit';
import { inContext } from '../caller-context';
import type { QueryReporter } from '../driver-instrumentation';
import { replaceMethods } from '../method-replacement';
import { isOutcome, rowsOf } from './affected-rows';

type Callback = (this: unknown, error: unknown, result?: unknown, ...rest: unknown[]) => unknown;
type Make = (this: object, sql: unknown, ...rest: unknown[]) => Command | undefined;
type AddCommand = (this: object, command: Command) => unknown;

interface Connection {
  query(text: string, callback: () => void): unknown;
}

/** What a connection has in its queue: without a callback, the application listens to its events. */
interface Command extends NodeJS.EventEmitter {
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
  /** Rows that came as events: the driver publishes those that it gives to a callback only. */
  rows: number;
  /** Why it may not be sent. */
  refusal: unknown;
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
    const call: CommandInMaking = { text: textOf(sql), connection: this, rows: 0, refusal: undefined };
    const outer = inMaking;
    inMaking = call;
    try {
      const command = original.call(this, sql, ...rest);
      if (command !== undefined && command.onResult === undefined) countEvents(command, call);
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

function countEvents(command: Command, call: { rows: number }): void {
  command.on('result', (row: unknown) => {
    call.rows += isOutcome(row) ? row.affectedRows : 1;
  });
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
  const aside = currentAside();
  command.onResult = function (...args) {
    return callAndNote(captured, () => runAgain(aside, () => onResult.apply(this, args)));
  };
}

/** Nothing is published of an execution of what `prepare()` gave; and without that, a callback loses its context. */
function begin(command: Command, connection: object, reporter: QueryReporter, below: AddCommand): void {
  const { statement, parameters, onResult } = command;
  const handle = statement && reporter.begin(statement.query, 'mysql', below, parameters, connection);
  const captured = contextStorage.capture();
  if (onResult !== undefined && captured !== undefined) {
    const back = inContext(onResult);
    command.onResult = function (...args) {
      const [error, result] = args;
      handle?.end(error ? 0 : rowsOf(result), Boolean(error));
      return back.apply(this, args);
    };
  } else if (handle !== undefined) {
    const call = { rows: 0 };
    countEvents(command, call);
    command.on(errorMonitor, () => handle.end(call.rows, true));
    command.on('end', () => handle.end(call.rows));
  }
}

/** As the driver does when the server refuses. */
function fail(command: Command, error: unknown): void {
  if (command.onResult === undefined) command.emit('error', error);
  else command.onResult(error);
  command.emit('end');
}
