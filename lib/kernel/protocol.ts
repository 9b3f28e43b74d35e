/**
 * What copies of the package in one process agree on: all that they share by `globalThis`, by symbols and by
 * the objects behind them. Raise it whenever a copy that knows the number before would misread any of it; what
 * may be missing in another copy (`?`) needs no new one.
 *
 * Copies of one protocol work as one. Those of two share nothing and work side by side, each for itself; the
 * drivers, where two layers would count twice, belong to the one that was loaded first.
 */
export const PROTOCOL = 1;

/** The name, for `Symbol.for()`, of something that only copies of this protocol may read. */
export function sharedName(name: string): string {
  return `nestjs-async-context.${PROTOCOL}.${name}`;
}

/** Where copies from before there were protocols have what they share. */
const BEFORE = Symbol.for('nestjs-async-context');
const LOADED = Symbol.for('nestjs-async-context.protocols');

const holder = globalThis as { [BEFORE]?: object; [LOADED]?: Set<number> };
const loaded = (holder[LOADED] ??= new Set<number>()).add(PROTOCOL);
const [first] = loaded;

/** Whether no copy of another protocol was there when the first of this one was loaded. */
export const isFirstProtocol = first === PROTOCOL && holder[BEFORE] === undefined;

/** Whether the process has copies of another protocol by now. */
export function hasOtherProtocol(): boolean {
  return loaded.size > 1 || holder[BEFORE] !== undefined;
}
