import { currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import { replaceMethod } from '../../kernel/method-replacement';

type Task = (client: unknown) => unknown;
type Execute = (this: unknown, task: Task) => Promise<unknown>;

/** A task that waited for a client would run in the context of the request that gave one back. */
export function coverPool(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { RedisClientPool } = copy as { RedisClientPool?: { prototype: object } };
  if (RedisClientPool === undefined) return [];
  return replaceMethod<Execute>(RedisClientPool.prototype, 'execute', original => {
    return function execute(task) {
      const captured = contextStorage.capture();
      const redirect = currentRedirect();
      let isReturned = false;
      let hasBegun = false;
      const result = original.call(this, client => {
        hasBegun = true;
        if (!isReturned) return task(client);
        return contextStorage.run(captured, runAgain, redirect, () => task(client));
      });
      isReturned = true;
      if (hasBegun) return result;
      return result.catch((error: unknown) => {
        if (!hasBegun) countFailure(reporter, execute);
        throw error;
      });
    };
  });
}

/** The pool gave up: what was asked for is known by its error alone, which the application is to get. */
function countFailure(reporter: QueryReporter, stackBoundary: Execute): void {
  try {
    reporter.beginCall('cache', '?', stackBoundary)?.end(true);
  } catch {
    // Over a budget that throws.
  }
}
