import { sharedName } from './protocol';

/** What all copies of the package in one process share. */
export interface ProcessShare {
  /** For what must exist once a process, by name: two copies that both patched a driver would count twice. */
  readonly single: Map<string, unknown>;
  /** By Nest's container: importing the module twice gives one application. */
  readonly applications: WeakMap<object, unknown>;
}

/** Name of the symbol that the share hangs on. */
export const SHARE = sharedName('share');

const holder = globalThis as { [key: symbol]: ProcessShare | undefined };

/** One per process, so that a second copy of the package sees what the first has. */
export const processShare: ProcessShare = (holder[Symbol.for(SHARE)] ??= {
  single: new Map(),
  applications: new WeakMap(),
});

/** Makes something once a process and gives the same to every copy of the package. */
export function oncePerProcess<T>(name: string, make: () => T): T {
  if (!processShare.single.has(name)) processShare.single.set(name, make());
  return processShare.single.get(name) as T;
}
