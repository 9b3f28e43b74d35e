import { AsyncLocalStorage } from 'node:async_hooks';
import { type Carrier, CONTEXT, SIGNATURE } from '../../context/carrier';
import { withoutTime } from '../carrier/carrier-term';
import { contextStorage } from '../../context/context-storage';
import { oncePerProcess } from '../../kernel/once-per-process';
import type { RequestContext } from '../../context/request-context';

/** What is known of a message while Nest has it in hand. */
interface MessageScope {
  /** `metadata` of the packet that has arrived. */
  metadata?: unknown;
  /** Who sends it, and what travels with it. */
  readonly sender?: RequestContext;
  readonly carrier?: Carrier | undefined;
}

/** Used where nothing else will do: on Node 20 and 22 each storage in use adds 70 ns to every `await`. */
const storage = oncePerProcess('messages.scope', () => new AsyncLocalStorage<MessageScope>());

/**
 * Runs what sends a message. Its carrier is made now: the packet is made once the client is connected, and
 * by then the unit of work may have ended, or have other values.
 */
export function whileSending<T>(send: () => T): T {
  const sender = contextStorage.getStore();
  if (sender?.application.carriesOnMessages !== true) return send();
  const carrier = sender.application.carrierOf?.(sender);
  if (carrier === undefined) return send();
  const known = scopeOf(sender)?.carrier ?? (sender.outgoing ??= carrier);
  if (saysTheSame(known, carrier)) return send();
  if (known === sender.outgoing && saysTheSame(untimed(known), untimed(carrier))) {
    // What the unit of work has yet to send may go with the later time as well.
    sender.outgoing = carrier;
    return send();
  }
  // Only who sends, sets another value and sends again needs more than one at a time.
  return storage.run({ sender, carrier }, send);
}

/** What travels with the message that the current unit of work sends; nothing outside of any. */
export function carrierToSend(requestId: string | undefined): Carrier | undefined {
  const sender = contextStorage.getStore();
  if (sender?.application.carriesOnMessages !== true) return undefined;
  const carrier = scopeOf(sender)?.carrier ?? sender.outgoing ?? sender.application.carrierOf?.(sender);
  const isSigned = carrier?.['x-async-context-signature'] !== undefined;
  if (!isSigned || requestId === undefined || requestId === carrier['x-request-id']) return carrier;
  // What is signed, is signed for the id that travels.
  return sender.application.carrierOf?.(sender, requestId);
}

function saysTheSame(one: Carrier, other: Carrier): boolean {
  if (one === other) return true;
  const names = Object.keys(one) as (keyof Carrier)[];
  return names.length === Object.keys(other).length && names.every(name => one[name] === other[name]);
}

/** The signature tells nothing more, as it is made of what it signs. */
function untimed(carrier: Carrier): Carrier {
  const { [CONTEXT]: text, [SIGNATURE]: signature, ...rest } = carrier;
  return signature === undefined || text === undefined ? carrier : { ...rest, [CONTEXT]: withoutTime(text) };
}

/** What a connection calls back is in the scope that it was opened in, which may be another's. */
function scopeOf(sender: RequestContext): MessageScope | undefined {
  const scope = storage.getStore();
  return scope?.sender === sender ? scope : undefined;
}

/** Runs what takes a message, with the metadata of its packet. */
export function whileArriving<T>(metadata: unknown, take: () => T): T {
  return storage.run({ metadata }, take);
}

/** Says what the metadata of the packet is that is being taken. */
export function noteArrived(metadata: unknown): void {
  const scope = storage.getStore();
  if (scope !== undefined) scope.metadata = metadata;
}

/** Metadata of the packet whose handler is called; once. */
export function takeArrived(): unknown {
  const scope = storage.getStore();
  if (scope?.metadata === undefined) return undefined;
  const { metadata } = scope;
  // What the handler leaves running keeps the scope, and need not keep this.
  scope.metadata = undefined;
  return metadata;
}
