import { noteArrived, whileArriving } from './message-scope';
import { loadMicroservices } from './microservices';

/** The parts of a server of `@nestjs/microservices` that are used here. */
export interface PacketServer {
  readonly transportId?: unknown;
  handleMessage?(...args: unknown[]): unknown;
  /** Redis and MQTT: called by the above, at once. */
  parseMessage?(content: unknown): unknown;
  /** Kafka */
  readonly parser?: { parse(message: object): { readonly headers?: object } } | null;
}

/** `Transport` of Nest. */
const [TCP, REDIS, MQTT] = [0, 1, 3];

/** By the packet of MQTT, which the context of its handler has. */
const metadataOfMqtt = new WeakMap<object, unknown>();

/**
 * Keeps the metadata of packets from where a server parses them to where it calls their handler: the contexts
 * of MQTT do not have it, nor do those of TCP and Redis in Nest 11.
 */
export function noteMetadata(server: PacketServer): void {
  const { transportId } = server;
  if (transportId === MQTT) noteByPacket(server);
  else if ((transportId === TCP || transportId === REDIS) && !contextsHaveMetadata()) noteByScope(server);
}

/** Metadata of a packet of MQTT. */
export function arrivedWith(packet: object): unknown {
  return metadataOfMqtt.get(packet);
}

function noteByPacket(server: PacketServer): void {
  const { handleMessage, parseMessage } = server;
  if (handleMessage === undefined || parseMessage === undefined) return;
  let packet: unknown;
  server.handleMessage = (...args) => {
    packet = args[3];
    try {
      return handleMessage.apply(server, args);
    } finally {
      packet = undefined;
    }
  };
  server.parseMessage = content => {
    const parsed = parseMessage.call(server, content);
    const metadata = metadataIn(parsed);
    if (metadata !== undefined && typeof packet === 'object' && packet !== null) {
      metadataOfMqtt.set(packet, metadata);
    }
    return parsed;
  };
}

function noteByScope(server: PacketServer): void {
  const { handleMessage, parseMessage } = server;
  if (handleMessage === undefined) return;
  // A packet of TCP comes parsed.
  server.handleMessage = (...args) =>
    whileArriving(metadataIn(args[1]), () => handleMessage.apply(server, args));
  if (parseMessage === undefined) return;
  server.parseMessage = content => {
    const parsed = parseMessage.call(server, content);
    noteArrived(metadataIn(parsed));
    return parsed;
  };
}

function contextsHaveMetadata(): boolean {
  const context = loadMicroservices()?.['TcpContext'];
  return context === undefined || 'getMetadata' in context.prototype;
}

function metadataIn(packet: unknown): unknown {
  return (packet as { metadata?: unknown } | null | undefined)?.metadata;
}
