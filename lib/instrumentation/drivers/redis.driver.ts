import { currentAside, runAgain } from '../../context/aside';
import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { DriverInstrumentation, QueryReporter } from '../driver-instrumentation';
import { loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';
import { traceCalls } from '../traced-calls';

const NAME = 'redis';

interface CommandMessage {
  readonly command?: string;
  readonly args?: readonly unknown[];
}

interface BatchMessage {
  readonly batchMode?: string;
  readonly batchSize?: number;
}

type Task = (client: unknown) => unknown;
type Execute = (this: unknown, task: Task) => Promise<unknown>;

/**
 * Counts the commands of `redis` (node-redis 5.12 and newer), in `record.cache`, by their name.
 *
 * It listens to the diagnostics channels of the client, so `onExceeded: 'throw'` keeps no command
 * back; a pool gives its client to the request that asked for it.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [redisInstrumentation()] });
 */
export function redisInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = [
        ...traceCalls<CommandMessage>(NAME, 'node-redis:command', countCommand(reporter)),
        ...traceCalls<BatchMessage>(NAME, 'node-redis:batch', countTransaction(reporter)),
        ...loadedCopies('@redis/client', 'dist/lib/client/pool.js').flatMap(copy =>
          bindTasks(copy, reporter),
        ),
      ];
      return undo.length === 0 ? undefined : () => undo.forEach(takeBack => takeBack());
    },
  };
}

function countCommand(reporter: QueryReporter) {
  return function begin({ command, args }: CommandMessage) {
    const handle = reporter.beginCall('cache', String(command ?? args?.[0]).toUpperCase(), begin);
    return handle && ((failed: boolean) => handle.end(failed));
  };
}

/** The commands of a `MULTI` are not published one by one; those of a pipeline are. */
function countTransaction(reporter: QueryReporter) {
  return function begin({ batchMode, batchSize = 0 }: BatchMessage) {
    if (batchMode !== 'MULTI') return undefined;
    const handles = Array.from({ length: batchSize }, () => reporter.beginCall('cache', 'MULTI', begin));
    return (failed: boolean) => handles.forEach(handle => handle?.end(failed));
  };
}

/** A task that waited for a client runs in the context of the request that gave one back. */
function bindTasks(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { RedisClientPool } = copy as { RedisClientPool?: { prototype: object } };
  if (RedisClientPool === undefined) return [];
  return replaceMethod<Execute>(RedisClientPool.prototype, 'execute', original => {
    return function execute(task) {
      const context = contextStorage.getStore() as RequestContext;
      const aside = currentAside();
      let isReturned = false;
      let hasBegun = false;
      const result = original.call(this, client => {
        hasBegun = true;
        if (!isReturned) return task(client);
        return contextStorage.run(context, runAgain, aside, () => task(client));
      });
      isReturned = true;
      if (hasBegun) return result;
      return result.catch((error: unknown) => {
        // The pool gave up: what was asked for is known by its error alone.
        if (!hasBegun) reporter.beginCall('cache', '?', execute)?.end(true);
        throw error;
      });
    };
  });
}
