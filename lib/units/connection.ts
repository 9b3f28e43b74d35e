import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import type { RequestContext } from '../context/request-context';
import { runAndNote } from '../context/thrown-context';
import { emitInside } from './emit-inside';
import { type PlatformRequest, rawOf } from '../context/remembered-context';

const CONNECTION = Symbol('nestjs-async-context.connection');
/** With which a client leaves. */
const ENDS = new Set<unknown>(['end', 'error', 'close']);

type Emit = (...args: unknown[]) => boolean;

/**
 * What the end of a socket means to the requests that it has brought; one for each socket.
 *
 * In these events Node and Nest end requests and responses and unsubscribe from streams: in the context of
 * the request, where there is one. Requests that were sent ahead share the listeners of their socket, so
 * there each has its own events in its context, and what listens to the socket has none.
 */
export class Connection {
  #answered: RequestContext | undefined = undefined;
  /** Those whose turn to be answered has not come, with what ends them. */
  readonly #ahead = new Map<RequestContext, () => void>();

  /** That of a socket of a server; `undefined` for what stands for one. */
  static of(socket: unknown): Connection | undefined {
    if (!(socket instanceof Socket)) return undefined;
    const watched = socket as unknown as { [CONNECTION]?: Connection; emit: Emit };
    if (watched[CONNECTION] !== undefined) return watched[CONNECTION];
    const connection = (watched[CONNECTION] = new Connection());
    const { emit } = watched;
    watched.emit = (...args) =>
      ENDS.has(args[0])
        ? connection.#end(() => emit.apply(socket, args), args[0] === 'close')
        : emit.apply(socket, args);
    return connection;
  }

  answers(context: RequestContext): void {
    this.#answered = context;
  }

  /** On Node 20 and 22 nobody but `end` ends such a request when its client leaves. */
  answersLater(context: RequestContext, end: () => void): void {
    this.#ahead.set(context, end);
  }

  leave(context: RequestContext): void {
    // An idle socket keeps no request.
    if (this.#answered === context) this.#answered = undefined;
    else this.#ahead.delete(context);
  }

  #end(emit: () => boolean, isClosed: boolean): boolean {
    const answered = this.#answered;
    if (this.#ahead.size === 0) return answered === undefined ? emit() : runAndNote(answered, emit);
    if (answered !== undefined) keepContext(answered);
    for (const context of this.#ahead.keys()) keepContext(context);
    const result = emit();
    if (isClosed) for (const end of this.#ahead.values()) end();
    return result;
  }
}

function keepContext(context: RequestContext): void {
  const { request, response } = context;
  if (request === undefined || !(response instanceof EventEmitter)) return;
  emitInside(rawOf(request as PlatformRequest), context);
  emitInside(response, context);
}
