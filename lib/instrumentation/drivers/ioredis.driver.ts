import type { CallHandle, DriverInstrumentation, QueryReporter } from '../driver-instrumentation';
import { loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';

const NAME = 'ioredis';
const COUNTED = Symbol('nestjs-async-context.counted');

type Send = (this: { readonly status?: string }, command: unknown, ...rest: unknown[]) => unknown;

interface Command {
  readonly name: string;
  readonly promise: unknown;
  resolve: (value: unknown) => unknown;
  reject: (error: unknown) => unknown;
  [COUNTED]?: true;
}

/** What the client sends of its own when it connects, and what only groups commands. */
const NOT_COUNTED: ReadonlySet<string> = new Set(
  'auth hello client select readonly readwrite cluster asking quit multi exec discard'.split(' '),
);

/**
 * Counts the commands of `ioredis`, in `record.cache`, by their name: those of pipelines and
 * transactions one by one, and those that wait for a connection where the application made them.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [ioredisInstrumentation()] });
 */
export function ioredisInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const files = ['built/Redis.js', 'built/cluster/index.js', 'built/Pipeline.js'];
      const undo = files.flatMap(file =>
        loadedCopies(NAME, file).flatMap(copy => {
          const { prototype } = (copy as { default?: { prototype: object } }).default ?? {};
          if (prototype !== undefined) return replaceMethod<Send>(prototype, 'sendCommand', count(reporter));
          reporter.warn(`this version of ioredis has another ${file}: its commands are not counted`);
          return [];
        }),
      );
      return undo.length === 0 ? undefined : () => undo.forEach(takeBack => takeBack());
    },
  };
}

/** A command passes here as often as it is sent: first where it was made. */
function count(reporter: QueryReporter): (original: Send) => Send {
  return original =>
    function sendCommand(command, ...rest) {
      if (isNew(command, this.status)) {
        command[COUNTED] = true;
        try {
          watch(command, reporter.beginCall('cache', command.name.toUpperCase(), sendCommand));
        } catch (error) {
          command.reject(error);
          // A pipeline gives its results by position, so there it goes on.
          if (this.status !== undefined) return command.promise;
        }
      }
      return original.call(this, command, ...rest);
    };
}

function isNew(command: unknown, status: string | undefined): command is Command {
  const { name, [COUNTED]: isCounted } = (command ?? {}) as Partial<Command>;
  if (isCounted === true || typeof name !== 'string') return false;
  const lower = name.toLowerCase();
  // The check of a new connection.
  return !NOT_COUNTED.has(lower) && !(lower === 'info' && status === 'connect');
}

/** Not by its promise: `then()` would hide an unhandled rejection. */
function watch(command: Command, handle: CallHandle | undefined): void {
  if (handle === undefined) return;
  const { resolve, reject } = command;
  command.resolve = value => {
    handle.end();
    return resolve.call(command, value);
  };
  command.reject = error => {
    handle.end(true);
    return reject.call(command, error);
  };
}
