import { knownStop } from '../budget/work-stop';
import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';

type TryActivate = (this: unknown, ...args: unknown[]) => Promise<unknown>;

/**
 * Notes while guards run. A budget by function wants the user, whom they find, and may ask the database for; the
 * handlers of routes have no hook that comes after them. It is there from the first unit of work on whose budget is
 * a function.
 */
export function watchGuards(): void {
  oncePerProcess('guards.patch', () => {
    const prototype = loadGuardsConsumer()?.prototype;
    if (prototype === undefined) return false;
    const { tryActivate } = prototype;
    prototype.tryActivate = function (...args) {
      const context = contextStorage.getStore();
      const stop = context && knownStop(context);
      if (stop === undefined) return tryActivate.apply(this, args);
      stop.guarding += 1;
      return tryActivate.apply(this, args).finally(() => {
        stop.guarding -= 1;
      });
    };
    return true;
  });
}

function loadGuardsConsumer(): { prototype: { tryActivate: TryActivate } } | undefined {
  try {
    // Not in the index of the package, but at this path in Nest 11 and in Nest 12.
    const { GuardsConsumer } = require('@nestjs/core/guards/guards-consumer') as {
      GuardsConsumer?: { prototype: { tryActivate: TryActivate } };
    };
    return GuardsConsumer;
  } catch {
    // Moved by a later Nest: then functions are asked at the first query of a guard.
    return undefined;
  }
}
