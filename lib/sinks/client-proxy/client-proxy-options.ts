import type { ClientProxy } from '@nestjs/microservices';
import { invalidOption } from '../../kernel/errors';
import type { CostRecord } from '../../cost/cost-record';
import { MAX_RECORD_BYTES } from '../../record/bound-record';

/** What identifies the messages to their consumers: topic, subject, channel, or the pattern of `@EventPattern()`. */
export type MessagePattern = string | Readonly<Record<string, unknown>>;

/** The part of a `ClientProxy` that the sink uses; Nest gives a Kafka client a different type. */
export type MessageClient = Pick<ClientProxy, 'connect' | 'send' | 'emit' | 'close' | 'unwrap'>;

/** Content of one message: the record itself with one record per message, otherwise a list. */
export type MessageData = CostRecord | readonly CostRecord[];

/** Options of `ClientProxySink`. */
export interface ClientProxySinkOptions {
  /**
   * The client that sends, or a function that creates one. A created client is connected for the first batch, closed
   * at shutdown, and created again after three failed batches in a row.
   */
  readonly client: MessageClient | (() => MessageClient);
  /** What identifies the messages to their consumers. @default 'cost-records' */
  readonly pattern?: MessagePattern;
  /**
   * Maximum number of records per message. With 1, a message is the record itself, otherwise a list.
   *
   * @default as many as `maxMessageBytes` allows; 1 for Kafka
   */
  readonly recordsPerMessage?: number;
  /** Maximum size of the records of one message as JSON, in bytes. @default 262,144 */
  readonly maxMessageBytes?: number;
  /**
   * Sends requests (`client.send()`) instead of events: a message is delivered when it is answered, by a JetStream
   * stream or by a `@MessagePattern()`. Not for Kafka, which acknowledges events.
   *
   * @default false
   */
  readonly awaitReply?: boolean;
  /** Maximum time in milliseconds for a message. @default 5,000 */
  readonly timeoutMs?: number;
  /** Returns the key of a Kafka message, which determines its partition. @default the request id */
  readonly key?: (first: CostRecord) => string | undefined;
  /**
   * Returns what the client sends, to set headers and options of a transport.
   *
   * @default the data; for MQTT with QoS 1, for RabbitMQ persistent, for Kafka with `key`
   */
  readonly message?: (data: MessageData) => unknown;
}

/** The options with their defaults. */
export type ResolvedClientProxyOptions = Required<
  Omit<ClientProxySinkOptions, 'recordsPerMessage' | 'message'>
> &
  Pick<ClientProxySinkOptions, 'recordsPerMessage' | 'message'>;

/** Any record fits into a message. */
const LEAST_MESSAGE_BYTES = MAX_RECORD_BYTES + 2;
const MOST_MESSAGE_BYTES = 16 * 1024 * 1024;
const MOST_RECORDS = 10_000;
const MOST_TIMEOUT_MS = 600_000;
const NAMES = [
  'client',
  'pattern',
  'recordsPerMessage',
  'maxMessageBytes',
  'awaitReply',
  'timeoutMs',
  'key',
  'message',
] as const satisfies readonly (keyof ClientProxySinkOptions)[];

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readClientProxyOptions(options: ClientProxySinkOptions): ResolvedClientProxyOptions {
  if (typeof options !== 'object' || options === null) fail('options', options, `Use { client }.`);
  for (const name of Object.keys(options)) {
    if ((NAMES as readonly string[]).includes(name)) continue;
    fail(name, options[name as 'client'], `There is no such option: use ${NAMES.join(', ')}.`);
  }
  const { client, pattern = 'cost-records', recordsPerMessage, awaitReply = false, message } = options;
  const { maxMessageBytes = 256 * 1024, timeoutMs = 5_000, key = ({ requestId }) => requestId } = options;
  if (typeof client !== 'function' && typeof client?.emit !== 'function') {
    fail('client', client, 'Use a ClientProxy, or a function that makes one.');
  }
  const isPattern = typeof pattern === 'string' ? pattern !== '' : typeof pattern === 'object';
  if (!isPattern || pattern === null)
    fail('pattern', pattern, 'Use a string or an object, as for @EventPattern().');
  if (recordsPerMessage !== undefined) checkWhole('recordsPerMessage', recordsPerMessage, 1, MOST_RECORDS);
  checkWhole('maxMessageBytes', maxMessageBytes, LEAST_MESSAGE_BYTES, MOST_MESSAGE_BYTES);
  if (typeof awaitReply !== 'boolean') fail('awaitReply', awaitReply, 'Use true or false.');
  checkWhole('timeoutMs', timeoutMs, 1, MOST_TIMEOUT_MS);
  if (typeof key !== 'function') fail('key', key, 'Use a function of a record.');
  if (message !== undefined && typeof message !== 'function') {
    fail('message', message, 'Use a function of a record or a list of them.');
  }
  return Object.freeze({
    client,
    pattern,
    maxMessageBytes,
    awaitReply,
    timeoutMs,
    key,
    ...(recordsPerMessage !== undefined && { recordsPerMessage }),
    ...(message !== undefined && { message }),
  });
}

function checkWhole(path: string, value: unknown, least: number, most: number): void {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return;
  fail(path, value, `Use a whole number from ${least} to ${most}.`);
}

function fail(path: string, value: unknown, remedy: string): never {
  throw invalidOption(path, value, remedy, 'new ClientProxySink');
}
