import type { Carrier } from '../../context/carrier';
import { type Lookup, lookupIn, readFields } from './carrier-fields';
import { arrivedWith, noteMetadata, type PacketServer } from './arrived-metadata';
import { noteHeaders, rawHeader } from './kafka-raw-headers';
import { takeArrived } from './message-scope';

/** What the contexts of Nest's transports have of a message; each has one or two of these. */
interface RpcContext {
  /** TCP and Redis, from Nest 12 on. */
  getMetadata?(): unknown;
  /** NATS */
  getHeaders?(): unknown;
  /** MQTT */
  getPacket?(): { readonly properties?: { readonly userProperties?: object } } | undefined;
  /** RabbitMQ and Kafka */
  getMessage?():
    { readonly properties?: { readonly headers?: object }; readonly headers?: object } | undefined;
}

/** Makes a server keep what its contexts do not say of a message. */
export function prepareArrivals(server: PacketServer): void {
  noteMetadata(server);
  noteHeaders(server);
}

/** What has travelled with a message, from what its handler is called with. Never throws. */
export function arrivedCarrier(args: readonly unknown[]): Carrier | undefined {
  try {
    return readFields(lookupOf(args));
  } catch {
    // A context of the application's own, or a getter that throws.
    return undefined;
  }
}

function lookupOf([message, context]: readonly unknown[]): Lookup {
  if (isMetadata(context)) return name => context.get(name);
  if (typeof context !== 'object' || context === null) {
    // A stream of gRPC that is passed through as its call.
    const metadata = (message as { metadata?: unknown } | null | undefined)?.metadata;
    return isMetadata(metadata) ? name => metadata.get(name) : () => undefined;
  }
  const rpc = context as RpcContext;
  if (typeof rpc.getMetadata === 'function') return lookupIn(rpc.getMetadata());
  if (typeof rpc.getHeaders === 'function') {
    const headers = rpc.getHeaders();
    return isHeaders(headers) ? name => headers.get(name) : lookupIn(headers);
  }
  if (typeof rpc.getPacket === 'function') {
    const packet = rpc.getPacket();
    const [metadata, own] = [
      lookupIn(packet && arrivedWith(packet)),
      lookupIn(packet?.properties?.userProperties),
    ];
    // Of MQTT 5 there may be both, where the application has set one of its own.
    return name => metadata(name) ?? own(name);
  }
  // TCP and Redis in Nest 11.
  if (typeof rpc.getMessage !== 'function') return lookupIn(takeArrived());
  const received = rpc.getMessage();
  const headers = received?.properties?.headers ?? received?.headers;
  const header = lookupIn(headers);
  return name => rawHeader(headers, name) ?? header(name);
}

interface Headers {
  get(name: string): unknown;
}

/** `Metadata` of `@grpc/grpc-js`: JSON that arrives has no functions. */
function isMetadata(value: unknown): value is Headers {
  return isHeaders(value) && 'getMap' in value;
}

function isHeaders(value: unknown): value is Headers {
  return typeof (value as Partial<Headers> | null | undefined)?.get === 'function';
}
