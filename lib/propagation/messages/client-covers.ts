import { coverGrpc } from './grpc-metadata';
import { coverKafka } from './kafka-headers';
import type { Microservices } from './microservices';
import { coverNats } from './nats-headers';
import { coverPackets } from './packet-metadata';
import { coverRabbitMq } from './rabbitmq-headers';
import { coverSending } from './sending';

const COVERS = [coverPackets, coverNats, coverRabbitMq, coverKafka, coverGrpc, coverSending];

/** Covers the clients of all transports. Apart, so that applications without `@nestjs/microservices` go without it. */
export function coverClients(nest: Microservices): (() => void)[] {
  return COVERS.flatMap(cover => cover(nest));
}
