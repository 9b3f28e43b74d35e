import { type Channel, channel } from 'node:diagnostics_channel';
import { contextStorage } from './context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { Captured } from './context-store';

const inUse = oncePerProcess('channels', () => new Set<string>());

/**
 * Listens to a channel that a driver publishes on, and gives back what ends that. Once a process:
 * who listens already, under the same name, does not listen again.
 *
 * What the listener throws goes no further: Node would make an uncaught exception of it
 * (https://nodejs.org/docs/latest-v20.x/api/diagnostics_channel.html#channelsubscribeonmessage).
 * So a query that is seen on a channel cannot be kept back.
 */
export function listen<T extends object>(
  owner: string,
  name: string,
  listener: (message: T) => void,
): (() => void)[] {
  return once(owner, name, on => {
    // oxlint-disable-next-line unicorn/consistent-function-scoping -- it is `listener` that it holds
    const onMessage = (message: unknown): void => {
      try {
        listener(message as T);
      } catch {
        // A budget that throws, or a message of a version that is not known.
      }
    };
    on.subscribe(onMessage);
    return () => void on.unsubscribe(onMessage);
  });
}

/**
 * Runs what happens on a channel in the context that `contextOf` finds, where there is one: for a
 * driver that calls back in the context of its connection.
 */
export function bindContext<T extends object>(
  owner: string,
  name: string,
  contextOf: (message: T) => Captured,
): (() => void)[] {
  return once(`${owner} context`, name, on => {
    const storage = contextStorage.native;
    on.bindStore(storage, message => contextOf(message as T));
    return () => void on.unbindStore(storage);
  });
}

function once(owner: string, name: string, start: (on: Channel) => () => void): (() => void)[] {
  const key = `${owner} ${name}`;
  if (inUse.has(key)) return [];
  inUse.add(key);
  const stop = start(channel(name));
  return [
    () => {
      inUse.delete(key);
      stop();
    },
  ];
}
