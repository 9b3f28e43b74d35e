import { contextStorage } from '../../context/context-storage';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { CallHandle } from '../../cost/query-handle';
import { targetOf } from '../redis/redis-command';

const COUNTED = Symbol('nestjs-async-context.counted');

/** A command or a pipeline: the driver settles it through these two, which are its own properties. */
export interface Settleable {
  resolve: (value: unknown) => unknown;
  reject: (error: unknown) => unknown;
}

export interface Command extends Settleable {
  readonly name: string;
  readonly promise: unknown;
  [COUNTED]?: true;
}

/** Whether a command is to be counted, and was not yet: it is sent as often as its connection breaks. */
export function isNew(command: unknown, status?: string): command is Command {
  const { name, [COUNTED]: isCounted } = (command ?? {}) as Partial<Command>;
  if (isCounted === true || typeof name !== 'string') return false;
  // The check of a new connection.
  return targetOf(name) !== '' && !(name === 'info' && status === 'connect');
}

/** @throws QueryBudgetExceededError with `onExceeded: 'throw'` */
export function beginCommand(
  reporter: QueryReporter,
  command: Command,
  stackBoundary: (...args: never[]) => unknown,
): CallHandle | undefined {
  command[COUNTED] = true;
  return reporter.beginCall('cache', targetOf(command.name), stackBoundary);
}

/** Sees how something is settled. Not by its promise: `then()` would hide an unhandled rejection. */
export function watch(
  target: Settleable,
  onResolve: (value: unknown) => void,
  onReject: (error: unknown) => void,
): void {
  const { resolve, reject } = target;
  const captured = contextStorage.capture();
  target.resolve = value => {
    onResolve(value);
    return resolve.call(target, value);
  };
  target.reject = error => {
    onReject(error);
    // From Node 24 on a rejection that nobody handles is that of who rejects: the shared connection.
    return contextStorage.run(captured, () => reject.call(target, error));
  };
}
