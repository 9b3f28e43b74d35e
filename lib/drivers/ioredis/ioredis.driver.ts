import { currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { beginCommand, isNew, watch } from './ioredis-command';
import { coverPipeline } from './ioredis-pipeline';

const NAME = 'ioredis';

interface Client {
  readonly status?: string;
  connect(): Promise<unknown>;
}

type Send = (this: Client, command: unknown, ...rest: unknown[]) => unknown;
type Delay = (this: Client, callback: (...args: unknown[]) => unknown) => unknown;
type Cover = (prototype: object, reporter: QueryReporter) => (() => void)[];

const COVERS: Readonly<Record<string, Cover>> = {
  'built/Redis.js': coverClient,
  'built/cluster/index.js': (prototype, reporter) => [
    ...coverClient(prototype, reporter),
    ...coverDelay(prototype),
  ],
  'built/Pipeline.js': coverPipeline,
};

/** What `ioredisInstrumentation()` of the package installs. */
export function ioredisInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      if (loadedCopies(NAME, 'built/redis/index.js').length > 0) {
        reporter.warn('this version of ioredis is older than 5: its commands are not counted');
      }
      const undo = Object.entries(COVERS).flatMap(([file, cover]) =>
        loadedCopies(NAME, file).flatMap(copy => {
          const { prototype } = (copy as { default?: { prototype?: object } }).default ?? {};
          if (typeof (prototype as Partial<Record<'sendCommand', unknown>>)?.sendCommand === 'function') {
            return cover(prototype as object, reporter);
          }
          reporter.warn(`this version of ioredis has an unknown ${file}: its commands are not counted`);
          return [];
        }),
      );
      return takingBack(undo);
    },
  };
}

/** A command passes here as often as it is sent: first where it was made. */
function coverClient(prototype: object, reporter: QueryReporter): (() => void)[] {
  return replaceMethod<Send>(prototype, 'sendCommand', original => {
    return function sendCommand(command, ...rest) {
      if (isNew(command, this.status)) {
        try {
          const handle = beginCommand(reporter, command, sendCommand);
          if (handle !== undefined) {
            watch(
              command,
              () => handle.end(),
              () => handle.end(true),
            );
          }
        } catch (error) {
          command.reject(error);
          return command.promise;
        }
      }
      if (this.status === 'wait') connectApart(this);
      return original.call(this, command, ...rest);
    };
  });
}

/**
 * What a shared connection receives would belong, for good, to the request that happened to be the
 * first to use it: the messages of its subscriptions as well.
 */
function connectApart(client: Client): void {
  if (contextStorage.getStore() === undefined) return;
  contextStorage.run(undefined as never, () => client.connect().catch(() => undefined));
}

/** A cluster puts aside what it cannot send without knowing its nodes. */
function coverDelay(prototype: object): (() => void)[] {
  return replaceMethod<Delay>(prototype, 'delayUntilReady', original => {
    return function delayUntilReady(callback) {
      const captured = contextStorage.capture();
      const redirect = currentRedirect();
      return original.call(this, (...args) =>
        contextStorage.run(captured, runAgain, redirect, () => callback(...args)),
      );
    };
  });
}
