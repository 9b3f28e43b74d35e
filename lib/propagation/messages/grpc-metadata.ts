import { defer, type Observable } from 'rxjs';
import { replaceMethod } from '../../kernel/method-replacement';
import { fieldsToSend } from './carrier-fields';
import { loadTransport, type Microservices } from './microservices';
import { onSubscription } from './sending';

/** `Metadata` of `@grpc/grpc-js`. */
interface Metadata {
  get(name: string): unknown[];
  set(name: string, value: string): void;
  clone(): Metadata;
}

type Call = (...args: unknown[]) => Observable<unknown>;
type CreateMethod = (this: unknown, client: Record<string, unknown>, name: string) => Call;

/** A call of gRPC has metadata, beside its message or stream of messages. */
export function coverGrpc({ ClientGrpcProxy }: Microservices): (() => void)[] {
  if (ClientGrpcProxy === undefined) return [];
  return replaceMethod<CreateMethod>(ClientGrpcProxy.prototype, 'createServiceMethod', original => {
    return function createServiceMethod(client, name) {
      const call = original.call(this, client, name);
      const { requestStream } = client[name] as { requestStream?: boolean };
      // At the time of the subscription: until then there is no call, and nobody makes it.
      return (...args) => onSubscription(defer(() => call(...withMetadata(args, requestStream === true))));
    };
  });
}

function withMetadata(args: unknown[], isStream: boolean): unknown[] {
  try {
    const [message, given] = args;
    // Without a stream of Nest's to send, and without a message, the arguments are grpc-js's own.
    if (isStream ? !isStreamOfMessages(message) : args.length === 0) return args;
    if (given !== undefined && !isMetadata(given)) {
      // Options of the call. Nest gives a call with a stream its second argument, and no third.
      const metadata = isStream || given === null ? undefined : marked(undefined);
      return metadata === undefined ? args : [message, metadata, ...args.slice(1)];
    }
    const metadata = marked(given);
    return metadata === undefined ? args : [message, metadata, ...args.slice(2)];
  } catch {
    return args;
  }
}

/** Metadata of its own: the application may make other calls with the one that it gave. */
function marked(given: Metadata | undefined): Metadata | undefined {
  const fields = fieldsToSend(name => given?.get(name));
  if (fields.length === 0) return undefined;
  const metadata = given === undefined ? newMetadata() : given.clone();
  for (const [name, value] of fields) metadata.set(name, value);
  return metadata;
}

function newMetadata(): Metadata {
  return new (loadTransport('@grpc/grpc-js') as { Metadata: new () => Metadata }).Metadata();
}

function isMetadata(value: unknown): value is Metadata {
  return typeof value === 'object' && value !== null && 'getMap' in value && 'clone' in value;
}

function isStreamOfMessages(value: unknown): boolean {
  return typeof (value as { subscribe?: unknown } | undefined)?.subscribe === 'function';
}
