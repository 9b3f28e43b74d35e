import { replaceMethod } from '../../kernel/method-replacement';
import { withFields } from './carrier-fields';
import type { Microservices, NestClass } from './microservices';

interface Packet {
  readonly data?: unknown;
  metadata?: unknown;
}

/** What MQTT 5 has beside a message, as the application gives it to Nest. */
interface MqttOptions {
  readonly properties?: { readonly userProperties?: object };
}

type CreatePacket = (this: object, pattern: unknown, data: unknown) => Packet;
type SendPacket = (this: object, packet: Packet, ...rest: unknown[]) => unknown;

/**
 * TCP, Redis, MQTT and clients of the application's own send a packet as a whole, so that its `metadata`
 * crosses beside `pattern` and `data`. Nest 12 makes packets in one place, after the hook that
 * `setOnDispatchHook()` takes; in Nest 11 they pass the method that sends them.
 */
export function coverPackets(nest: Microservices): (() => void)[] {
  const { ClientProxy, ClientTCP, ClientRedis, ClientMqtt } = nest;
  if (ClientProxy !== undefined && 'createPacket' in ClientProxy.prototype) {
    return coverCreation(ClientProxy, nest);
  }
  return [ClientTCP, ClientRedis, ClientMqtt].filter(isClass).flatMap(client =>
    ['publish', 'dispatchEvent'].flatMap(name =>
      replaceMethod<SendPacket>(client.prototype, name, original => {
        return function send(packet, ...rest) {
          mark(packet);
          return original.call(this, packet, ...rest);
        };
      }),
    ),
  );
}

function coverCreation({ prototype }: NestClass, nest: Microservices): (() => void)[] {
  const withHeaders = [nest['ClientNats'], nest['ClientRMQ'], nest['ClientKafka']]
    .filter(isClass)
    .map(client => client.prototype);
  return replaceMethod<CreatePacket>(prototype, 'createPacket', original => {
    return function createPacket(pattern, data) {
      const packet = original.call(this, pattern, data);
      if (!withHeaders.some(client => Object.prototype.isPrototypeOf.call(client, this))) mark(packet);
      return packet;
    };
  });
}

function mark(packet: Packet): void {
  try {
    const { metadata } = packet;
    if (metadata !== undefined && (typeof metadata !== 'object' || metadata === null)) return;
    const marked = withFields(metadata, userPropertiesOf(packet.data));
    if (marked !== metadata) packet.metadata = marked;
  } catch {
    // A frozen packet, or metadata with getters that throw: it is sent as it is.
  }
}

/** Those of a record; a client may have some, too, and Nest sends both. */
function userPropertiesOf(data: unknown): object | undefined {
  if (typeof data !== 'object' || data?.constructor?.name !== 'MqttRecord') return undefined;
  return (data as { readonly options?: MqttOptions }).options?.properties?.userProperties;
}

function isClass(candidate: NestClass | undefined): candidate is NestClass {
  return candidate !== undefined;
}
