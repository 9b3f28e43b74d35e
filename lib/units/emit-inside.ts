import type { EventEmitter } from 'node:events';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import { runAndNote } from '../context/thrown-context';

const CONTEXT = Symbol('nestjs-async-context.emitter');
const EMIT = Symbol('nestjs-async-context.emit');

type Emit = (this: Inside, ...args: unknown[]) => boolean;

interface Inside {
  emit: Emit;
  [EMIT]?: Emit;
  [CONTEXT]?: RequestContext;
}

/**
 * Runs all that listens to a request or a response in its context.
 *
 * Node emits what a socket brings or ends in the context of the socket: the chunks of a body, the end of a
 * client that has left. Where the response is written, events are in the context already.
 *
 * Not at `on()`: a listener that is wrapped is no longer the one that `off()` and `listeners()` know.
 */
export function emitInside(emitter: EventEmitter, context: RequestContext): void {
  const inside = emitter as unknown as Inside;
  if (inside[EMIT] !== undefined) return;
  inside[CONTEXT] = context;
  inside[EMIT] = inside.emit;
  inside.emit = emit;
}

function emit(this: Inside, ...args: unknown[]): boolean {
  const original = this[EMIT] as Emit;
  const context = this[CONTEXT];
  return context === undefined || contextStorage.capture() === context
    ? original.apply(this, args)
    : runAndNote(context, () => original.apply(this, args));
}
