import { executionAsyncResource } from 'node:async_hooks';

/**
 * Keeps `process.nextTick()` fast in each variant, as this package does for its own (`lib/kernel/tick-shape.ts`):
 * the servers rest while the others have their turn, and each would be fast or slow by chance.
 *
 * @returns the object that is kept
 */
export function keepTickShape() {
  return new Promise(resolve => {
    process.nextTick(() => {
      globalThis.benchTick = executionAsyncResource();
      resolve(globalThis.benchTick);
    });
  });
}
