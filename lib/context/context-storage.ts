import { EventLoop } from '../cost/event-loop';
import { ContextStore } from './context-store';
import { sharedName } from './protocol';

/** What all copies of the package in one process share. */
interface ProcessShare {
  readonly storage: ContextStore;
  /** For what must exist once a process, by name: two copies that both patched a driver would count twice. */
  readonly single: Map<string, unknown>;
  /** By Nest's container: importing the module twice gives one application. */
  readonly applications: WeakMap<object, unknown>;
}

/** Name of the symbol that the share hangs on. */
export const SHARE = sharedName('share');

const holder = globalThis as { [key: symbol]: ProcessShare | undefined };

/** One per process, so that a second copy of the package sees the contexts of the first. */
export const processShare: ProcessShare = (holder[Symbol.for(SHARE)] ??= {
  storage: new ContextStore(),
  single: new Map(),
  applications: new WeakMap(),
});

/** The one storage of the process; the context of the work that runs is its store. */
export const contextStorage: ContextStore = processShare.storage;

/** Makes something once a process and gives the same to every copy of the package. */
export function oncePerProcess<T>(name: string, make: () => T): T {
  if (!processShare.single.has(name)) processShare.single.set(name, make());
  return processShare.single.get(name) as T;
}

/** What the event loop of this process does, as all copies of the package see it. */
export const eventLoop: EventLoop = oncePerProcess(
  'loop',
  () => new EventLoop(() => contextStorage.getStore()?.time),
);
