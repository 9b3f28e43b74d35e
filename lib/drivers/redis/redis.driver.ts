import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { CallHandle } from '../../cost/query-handle';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { targetOf } from './redis-command';
import { coverPool } from './redis-pool';

const NAME = 'redis';

interface Client {
  readonly _self?: unknown;
}

interface Queued {
  readonly args?: readonly unknown[];
}

type Send = (this: Client, args: readonly unknown[], options?: unknown) => Promise<unknown>;
type Execute = (this: Client, commands: readonly Queued[], ...rest: unknown[]) => Promise<unknown>;
type Subscribe = (this: unknown, type: string, ...rest: unknown[]) => Promise<unknown> | undefined;

const PREFIXES: Readonly<Record<string, string>> = { PATTERNS: 'P', SHARDED: 'S' };

/** What `redisInstrumentation()` of the package installs. */
export function redisInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = [
        ...copies('index').flatMap(copy => coverClient(copy, reporter)),
        ...copies('commands-queue').flatMap(copy => coverSubscriptions(copy, reporter)),
        ...copies('pool').flatMap(copy => coverPool(copy, reporter)),
      ];
      return takingBack(undo);
    },
  };
}

/** Of a file of the package that all clients are made of. */
function copies(file: string): unknown[] {
  return loadedCopies('@redis/client', `dist/lib/client/${file}.js`);
}

function coverClient(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = (copy as { default?: { prototype?: object } }).default ?? {};
  if (prototype === undefined || !('_executeMulti' in prototype)) {
    reporter.warn('this version of redis is older than 5 or unknown: its commands are not counted');
    return [];
  }
  return [
    ...replaceMethod<Send>(prototype, 'sendCommand', original => {
      return function sendCommand(args, options) {
        const name = nameOf(args);
        if (name === '' || isHealthCheck(this, name, args, options)) {
          return original.call(this, args, options);
        }
        let handle: CallHandle | undefined;
        try {
          handle = reporter.beginCall('cache', name, sendCommand);
        } catch (error) {
          return Promise.reject(error as Error);
        }
        const reply = original.call(this, args, options);
        return handle === undefined ? reply : endWith(reply, handle);
      };
    }),
    ...['_executeMulti', '_executePipeline'].flatMap(method =>
      replaceMethod<Execute>(prototype, method, original => {
        return function execute(commands, ...rest) {
          const handles: (CallHandle | undefined)[] = [];
          try {
            for (const { args } of commands) {
              const name = nameOf(args);
              handles.push(name === '' ? undefined : reporter.beginCall('cache', name, execute));
            }
          } catch (error) {
            // All or nothing: half of a transaction must not be sent.
            for (const handle of handles) handle?.end(true);
            return Promise.reject(error as Error);
          }
          const replies = original.call(this, commands, ...rest);
          return handles.every(handle => handle === undefined) ? replies : endAllWith(replies, handles);
        };
      }),
    ),
  ];
}

/** They go past `sendCommand()`. One that adds a listener to what is subscribed already sends nothing. */
function coverSubscriptions(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = (copy as { default?: { prototype?: object } }).default ?? {};
  if (prototype === undefined) return [];
  return ['subscribe', 'unsubscribe'].flatMap(method =>
    replaceMethod<Subscribe>(prototype, method, original => {
      return function subscribe(type, ...rest) {
        const reply = original.call(this, type, ...rest);
        if (reply === undefined) return undefined;
        const name = `${PREFIXES[type] ?? ''}${method.toUpperCase()}`;
        try {
          const handle = reporter.beginCall('cache', name, subscribe);
          return handle === undefined ? reply : endWith(reply, handle);
        } catch {
          // Over a budget that throws: it is under way already.
          return reply;
        }
      };
    }),
  );
}

/** As it is counted; empty for what is not. */
function nameOf(args: readonly unknown[] | undefined): string {
  const name = args?.[0];
  if (typeof name === 'string') return targetOf(name);
  return Buffer.isBuffer(name) ? targetOf(name.toString()) : '?';
}

/** That of the option `pingInterval`: an application calls on a proxy of the client, or gives options. */
function isHealthCheck(client: Client, name: string, args: readonly unknown[], options: unknown): boolean {
  return name === 'PING' && options === undefined && args.length === 1 && client._self === client;
}

/** A promise of its own, in place of the bare one: `then()` beside it would hide an unhandled rejection. */
function endWith(reply: Promise<unknown>, handle: CallHandle): Promise<unknown> {
  return reply.then(
    value => {
      handle.end();
      return value;
    },
    (error: unknown) => {
      handle.end(true);
      throw error;
    },
  );
}

function endAllWith(
  replies: Promise<unknown>,
  handles: readonly (CallHandle | undefined)[],
): Promise<unknown> {
  return replies.then(
    values => {
      handles.forEach((handle, i) => handle?.end((values as readonly unknown[])[i] instanceof Error));
      return values;
    },
    (error: unknown) => {
      for (const handle of handles) handle?.end(true);
      throw error;
    },
  );
}
