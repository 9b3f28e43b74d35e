import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { CallHandle } from '../../cost/query-handle';
import { replaceMethod, replaceMethods } from '../../kernel/method-replacement';
import { beginCommand, type Command, isNew, type Settleable, watch } from './ioredis-command';

type Callback = (error: unknown, value?: unknown) => void;
type Result = readonly [error: unknown, value?: unknown];

interface Pipeline extends Settleable {
  _queue: Command[];
  /** How many `multi()` still wait for their `exec()`. */
  readonly _transactions: number;
}

type Exec = (this: Pipeline, ...args: unknown[]) => unknown;
type Send = (this: Pipeline, command: unknown) => unknown;

/**
 * The commands of a pipeline are counted one by one, as it is executed: one that is given up costs
 * nothing. Those of an automatic one belong to different requests: each is counted where it is made.
 */
export function coverPipeline(prototype: object, reporter: QueryReporter): (() => void)[] {
  return [
    ...replaceMethods<Exec>([prototype], 'exec', original => {
      return function exec(...args) {
        // The call that only ends a `multi()`; or another version.
        if (this._transactions > 0 || !Array.isArray(this._queue)) return original.apply(this, args);
        try {
          beginAll(this, reporter, exec);
        } catch (error) {
          // All or nothing: half of a transaction must not be sent.
          this._queue = [];
          this.reject(error);
        }
        return original.apply(this, args);
      };
    }),
    ...replaceMethod<Send>(prototype, 'sendCommand', original => {
      return function sendCommand(command) {
        const callbacks = callbacksOf(this);
        if (callbacks !== undefined && isNew(command)) beginOne(callbacks, command, reporter, sendCommand);
        return original.call(this, command);
      };
    }),
  ];
}

/** Once: a pipeline is executed again when a cluster redirects it. */
function beginAll(pipeline: Pipeline, reporter: QueryReporter, stackBoundary: Exec): void {
  const queue = pipeline._queue;
  const handles: (CallHandle | undefined)[] = [];
  let hasHandle = false;
  try {
    for (const command of queue) {
      const handle = isNew(command) ? beginCommand(reporter, command, stackBoundary) : undefined;
      handles.push(handle);
      if (handle !== undefined) hasHandle = true;
    }
  } catch (error) {
    for (const handle of handles) handle?.end(true);
    throw error;
  }
  if (!hasHandle) return;
  watch(
    pipeline,
    results => {
      const failed = failuresOf(queue, results as readonly Result[]);
      handles.forEach((handle, i) => handle?.end(failed.has(i)));
    },
    () => handles.forEach(handle => handle?.end(true)),
  );
}

/** By position; of a transaction, the results are those of its `EXEC`. */
function failuresOf(queue: readonly Command[], results: readonly Result[]): Set<number> {
  const failed = new Set<number>();
  let start = 0;
  results.forEach(([error, value], i) => {
    const { name } = queue[i] ?? {};
    if (name === 'multi') start = i;
    if (error) failed.add(i);
    if (name !== 'exec') return;
    // Discarded as a whole.
    if (error) for (let at = start; at < i; at++) failed.add(at);
    else if (Array.isArray(value)) {
      value.forEach((one, at) => one instanceof Error && failed.add(i - value.length + at));
    }
  });
  return failed;
}

/** What an automatic pipeline calls back, by position; only that has it, under a symbol of its copy. */
function callbacksOf(pipeline: object): Callback[] | undefined {
  for (const symbol of Object.getOwnPropertySymbols(pipeline)) {
    if (symbol.description === 'callbacks') return (pipeline as Record<symbol, Callback[]>)[symbol];
  }
  return undefined;
}

function beginOne(
  callbacks: Callback[],
  command: Command,
  reporter: QueryReporter,
  stackBoundary: Send,
): void {
  const position = callbacks.length - 1;
  const callback = callbacks[position];
  if (callback === undefined) return;
  let handle: CallHandle | undefined;
  try {
    handle = beginCommand(reporter, command, stackBoundary);
  } catch (error) {
    // Thrown within the promise of this command; those of the others keep their positions.
    callbacks.pop();
    throw error;
  }
  if (handle === undefined) return;
  callbacks[position] = (error, value) => {
    handle.end(Boolean(error));
    callback(error, value);
  };
}
