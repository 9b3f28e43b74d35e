import { executionAsyncResource } from 'node:async_hooks';
import { oncePerProcess } from './once-per-process';

/**
 * Keeps one of the objects that `process.nextTick()` makes, so that `nextTick()` stays fast.
 *
 * Node makes such an object for each callback, as a literal with computed names. V8 compiles this literal well as
 * long as the hidden class that it has seen is alive, and it holds that class weakly. Garbage collections that find
 * no callback in the queue (a service at rest) free the class; the next literal has a new one, and from then on V8
 * adds each property by a call into its runtime, for the rest of the process. `nextTick()` then takes 2.5 times as
 * long, and a request with five queries 25 % more instructions, with or without this package: `bench/tick.mjs`.
 * One object that is never collected keeps the class.
 */
export function keepTickShape(): void {
  oncePerProcess<{ tick: object | undefined }>('tick shape', () => {
    const kept: { tick: object | undefined } = { tick: undefined };
    process.nextTick(() => {
      kept.tick = executionAsyncResource();
    });
    return kept;
  });
}
