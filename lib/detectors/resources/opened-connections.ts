import type { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import tls from 'node:tls';
import { contextStorage } from '../../context/context-storage';
import { listen } from '../../context/channels';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';

const OWNER = 'unhandled errors';

type Connect = (this: unknown, ...args: unknown[]) => unknown;

/** What opens by `new`, where Node publishes it; both emit what comes. */
const EMITTERS: Readonly<Record<string, string>> = { worker_threads: 'worker', 'udp.socket': 'socket' };

interface Spawned {
  spawn: (this: unknown, options: unknown) => unknown;
}

/**
 * Tells what comes by way of a connection from the work of who has opened it.
 *
 * A connection is opened once and used by many: with it Node keeps the context of the first, for good.
 * The same goes for a worker and a process of one's own.
 */
export function coverConnections(): (() => void)[] {
  return [
    ...openers().flatMap(([owner, method]) =>
      replaceMethod<Connect>(owner, method, original => {
        return function connect(...args) {
          return contextStorage.runAsOpener(() => original.apply(this, args));
        };
      }),
    ),
    ...Object.entries(EMITTERS).flatMap(([channel, name]) =>
      listen<Record<string, EventEmitter>>(OWNER, channel, message => emitAsOpener(message[name])),
    ),
    ...listen<{ process: Spawned }>(OWNER, 'child_process', ({ process }) => spawnAsOpener(process)),
  ];
}

/** `net.connect()` comes by the first, and so do agents; the others may be given a socket that is connected. */
function openers(): (readonly [owner: object, method: string])[] {
  const known: (readonly [owner: object, method: string])[] = [
    [Socket.prototype, 'connect'],
    [tls, 'connect'],
  ];
  // It takes 10 ms to load; grpc-js, which gives it such a socket, has loaded it.
  if (loadedCopies('@grpc/grpc-js', 'build/src/index.js').length > 0) {
    known.push([process.getBuiltinModule('node:http2'), 'connect']);
  }
  return known;
}

function emitAsOpener(emitter: EventEmitter | undefined): void {
  const captured = contextStorage.captureAsOpener();
  if (emitter === undefined || captured === undefined) return;
  const { emit } = emitter;
  const value: EventEmitter['emit'] = (...args) =>
    contextStorage.run(captured, () => emit.apply(emitter, args));
  Object.defineProperty(emitter, 'emit', { value, configurable: true, writable: true });
}

/** Published before it is started; its streams are opened with it. */
function spawnAsOpener(child: Spawned): void {
  if (contextStorage.getStore() === undefined) return;
  const { spawn } = child;
  const value: Spawned['spawn'] = options => {
    delete (child as Partial<Spawned>).spawn;
    return contextStorage.runAsOpener(() => spawn.call(child, options));
  };
  Object.defineProperty(child, 'spawn', { value, configurable: true, writable: true });
}
