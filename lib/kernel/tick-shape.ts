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
      const tick = executionAsyncResource();
      // With fake timers it is what else runs: a socket, a timeout.
      if (Object.hasOwn(tick, 'callback')) kept.tick = withoutStores(tick);
    });
    return kept;
  });
}

/** An application may start inside a request or a span: their stores hang on the object, by symbols, and would stay. */
function withoutStores(tick: object): object {
  const fields = tick as Record<symbol, unknown>;
  for (const name of Object.getOwnPropertySymbols(tick)) {
    if (typeof fields[name] === 'object') fields[name] = undefined;
  }
  return tick;
}
