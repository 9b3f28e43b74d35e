import { from } from 'rxjs';
import { invalidOption } from '../../kernel/errors';
import { settled } from '../../kernel/thenable';
import type { CostRecord } from '../../cost/cost-record';
import { answerOf } from '../../kernel/answer-of';
import { OwnError } from '../../kernel/own-error';
import type { MessageClient, ResolvedClientProxyOptions } from './client-proxy-options';
import { splitRecords } from './client-proxy-split';
import { type ClientProxyTransport, isTooLarge, refusalOf, transportOf } from './client-proxy-transport';
import { writeFailure } from '../sink-retry';
import { UnsettledMessages } from './client-proxy-unsettled';

/** Events under way at once: with one after the other, round trips would be the limit. */
const AT_ONCE = 16;

/** Sends batches through one client, and knows what of them was delivered. */
export class ClientProxyDelivery {
  readonly #client: MessageClient;
  readonly #options: ResolvedClientProxyOptions;
  readonly #transport: ClientProxyTransport;
  readonly #unsettled = new UnsettledMessages();
  #connecting: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(client: MessageClient, options: ResolvedClientProxyOptions) {
    this.#client = client;
    this.#options = options;
    this.#transport = transportOf(client);
    if (options.awaitReply && this.#transport.isBatching) {
      throw invalidOption('awaitReply', true, 'Omit it: Kafka acknowledges events.', 'new ClientProxySink');
    }
  }

  /** @throws the first error of a message, with how many of the first records were `delivered` */
  async deliver(records: readonly CostRecord[]): Promise<void> {
    this.#isClosed = false;
    // What a message does first; where it fails, they fail with the same.
    this.#connecting = settled(this.#client.connect()).catch(() => undefined);
    const parts = this.#partsOf(records);
    const { atOnce } = this.#options.awaitReply ? this.#transport : { atOnce: AT_ONCE };
    for (let next = 0; next < parts.length; next += atOnce) {
      // A message would connect the client again, and nobody would close it.
      if (this.#isClosed) throw failure(new OwnError('the sink is closed'), countOf(parts, next));
      const window = parts.slice(next, next + atOnce);
      const ends = await Promise.allSettled(window.map(part => this.#send(part)));
      const refused = ends.find(end => end.status === 'rejected');
      await this.#confirm().catch((reason: unknown) => {
        throw failure(refused?.reason ?? reason, countOf(parts, next));
      });
      if (refused === undefined) continue;
      const index = next + ends.indexOf(refused);
      throw failure(refused.reason, countOf(parts, index), parts[index]?.length);
    }
  }

  /** Closes the client; the next batch would connect it again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    // That of RabbitMQ, closed while it connects, leaves two rejections that nobody handles: they end a process.
    await this.#connecting;
    await settled(this.#client.close());
  }

  /** What is sent by one call of the client. */
  #partsOf(records: readonly CostRecord[]): readonly (readonly CostRecord[])[] {
    const { maxMessageBytes } = this.#options;
    return splitRecords(records, this.#transport.isBatching ? Infinity : this.#perMessage, maxMessageBytes);
  }

  get #perMessage(): number {
    return this.#options.recordsPerMessage ?? this.#transport.recordsPerMessage;
  }

  async #send(part: readonly CostRecord[]): Promise<void> {
    const client = this.#client;
    const { awaitReply, pattern, timeoutMs } = this.#options;
    const messages = this.#messagesOf(part);
    const answer = await this.#unsettled.wait(
      () =>
        awaitReply ? client.send(pattern, messages[0]) : this.#transport.emit(client, pattern, messages),
      timeoutMs,
      awaitReply,
    );
    const refusal = awaitReply ? refusalOf(client, answer) : undefined;
    if (refusal !== undefined) throw refusal;
  }

  #messagesOf(part: readonly CostRecord[]): readonly unknown[] {
    const { message, key } = this.#options;
    const most = this.#perMessage;
    const lists = this.#transport.isBatching ? splitRecords(part, most, Infinity) : [part];
    return lists.map(records => {
      const [first] = records as readonly [CostRecord];
      const data = most === 1 ? first : records;
      if (message !== undefined) return answerOf(message(data), 'message()');
      return this.#transport.message(data, answerOf(key(first), 'key()'));
    });
  }

  get #confirms(): boolean {
    return this.#transport.confirm !== undefined && !this.#options.awaitReply;
  }

  /** Waits until the broker has read what was emitted, where the transport does not tell by itself. */
  async #confirm(): Promise<void> {
    const { timeoutMs } = this.#options;
    const { confirm } = this.#transport;
    if (confirm === undefined || !this.#confirms) return;
    await this.#unsettled.wait(() => from(confirm(this.#client)), timeoutMs, false);
  }
}

function countOf(parts: readonly (readonly CostRecord[])[], end: number): number {
  return parts.slice(0, end).reduce((sum, part) => sum + part.length, 0);
}

/**
 * What the queue is told: what is behind the message that failed is sent again with it, unless the
 * broker would never take that one.
 */
function failure(reason: unknown, delivered: number, size = 0): Error {
  const error = errorOf(reason);
  return writeFailure(error, { delivered, rejected: isTooLarge(error) ? size : 0 });
}

function errorOf(reason: unknown): Error {
  try {
    // Nest's clients reject with texts, and with the event of a connection that was not made, as well.
    const { err = reason } = (typeof reason === 'object' && reason !== null ? reason : {}) as {
      err?: unknown;
    };
    return err instanceof Error ? err : new Error(textOf(err));
  } catch (error) {
    // It cannot be looked at.
    return error as Error;
  }
}

/** Of an answer that is an error Nest gives an object, such as `{ status: 'error', message }`. */
function textOf(reason: unknown): string {
  const { message } = (typeof reason === 'object' && reason !== null ? reason : {}) as { message?: unknown };
  return typeof message === 'string' ? message : String(reason);
}
