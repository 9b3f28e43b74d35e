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

/**
 * Keeps the metadata of packets from where a server parses them to where it calls their handler: the contexts
 * of MQTT do not have it, nor do those of TCP and Redis in Nest 11.
 */
export function noteMetadata(server: PacketServer): void {
  const { transportId, handleMessage, parseMessage } = server;
  if (!lacksMetadata(transportId) || handleMessage === undefined) return;
  // A packet of TCP comes parsed.
  server.handleMessage = (...args) =>
    whileArriving(metadataOf(args[1]), () => handleMessage.apply(server, args));
  if (parseMessage === undefined) return;
  server.parseMessage = content => {
    const packet = parseMessage.call(server, content);
    noteArrived(metadataOf(packet));
    return packet;
  };
}

function lacksMetadata(transportId: unknown): boolean {
  if (transportId === MQTT) return true;
  const context = loadMicroservices()?.['TcpContext'];
  const isAsked = transportId === TCP || transportId === REDIS;
  return isAsked && context !== undefined && !('getMetadata' in context.prototype);
}

function metadataOf(packet: unknown): unknown {
  return (packet as { metadata?: unknown } | null | undefined)?.metadata;
}
