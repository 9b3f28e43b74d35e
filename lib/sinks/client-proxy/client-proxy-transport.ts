import {
  ClientKafka,
  ClientMqtt,
  ClientNats,
  ClientRedis,
  ClientRMQ,
  MqttRecordBuilder,
  RmqRecordBuilder,
} from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import type { MessageClient, MessageData, MessagePattern } from './client-proxy-options';

/** What is different about one transport. */
export interface ClientProxyTransport {
  /** Whether the client packs messages into one request by itself. */
  readonly isBatching: boolean;
  /** Requests under way at once. */
  readonly atOnce: number;
  readonly recordsPerMessage: number;
  /** What the client is given so that the broker keeps the message, where it is the message that says so. */
  message(data: MessageData, key: string | undefined): unknown;
  emit(client: MessageClient, pattern: MessagePattern, messages: readonly unknown[]): Observable<unknown>;
  /** Waits until the broker has read what was emitted, where `emit()` does not. */
  confirm?(client: MessageClient): Promise<unknown>;
}

const plain: ClientProxyTransport = {
  isBatching: false,
  atOnce: 16,
  recordsPerMessage: Infinity,
  message: data => data,
  emit: (client, pattern, [message]) => client.emit(pattern, message),
};

const redis: ClientProxyTransport = {
  ...plain,
  // All requests share a channel for their answers, which the client leaves when one is answered and
  // another just about to be sent: of 10 at once, the answers to some never came.
  atOnce: 1,
};

const mqtt: ClientProxyTransport = {
  ...redis,
  // QoS 0 is "at most once", and ends when the bytes are with the socket.
  message: data => new MqttRecordBuilder(data).setQoS(1).build(),
};

const rabbit: ClientProxyTransport = {
  ...plain,
  // Else a durable queue is empty after a restart: persistent is false in Nest.
  message: data => new RmqRecordBuilder(data).setOptions({ persistent: true }).build(),
};

const nats: ClientProxyTransport = {
  ...plain,
  // A publish is not answered, but the server answers a PING after what came before it.
  confirm: client => client.unwrap<{ flush(): Promise<void> }>().flush(),
};

const kafka: ClientProxyTransport = {
  isBatching: true,
  atOnce: 1,
  // What reads topics (Connect, Flink, ksqlDB) takes a message for a row; the producer packs them.
  recordsPerMessage: 1,
  message: (data, key) => ({ key, value: data }),
  emit: (client, pattern, messages) =>
    (client as unknown as ClientKafka).emitBatch(pattern, { messages: messages as unknown[] }),
};

/** What is different about the transport of a client. */
export function transportOf(client: MessageClient): ClientProxyTransport {
  if (client instanceof ClientKafka) return kafka;
  if (client instanceof ClientMqtt) return mqtt;
  if (client instanceof ClientRMQ) return rabbit;
  if (client instanceof ClientRedis) return redis;
  return client instanceof ClientNats ? nats : plain;
}

/** What an answer says that is no success: JetStream answers a publish with its error. */
export function refusalOf(client: MessageClient, answer: unknown): Error | undefined {
  if (!(client instanceof ClientNats) || typeof answer !== 'object' || answer === null) return undefined;
  const { error } = answer as { error?: Readonly<Record<'code' | 'err_code' | 'description', unknown>> };
  if (typeof error?.code !== 'number') return undefined;
  // Its own number tells its errors apart: https://github.com/nats-io/nats-server/blob/main/server/errors.json
  const code = `JETSTREAM_${Number(error.err_code ?? error.code)}`;
  return Object.assign(new Error(`JetStream: ${String(error.description)}`), { code });
}

/** Whether the broker will never take it: sending it again is in vain. */
export function isTooLarge(error: unknown): boolean {
  try {
    const { type, code, message } = (error ?? {}) as Record<string, unknown>;
    return /MESSAGE_TOO_LARGE|MAX_PAYLOAD|max_payload/.test([type, code, message].join(' '));
  } catch {
    return false;
  }
}
