import { runUncharged } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import type { CostRecord } from '../../cost/cost-record';
import { answerOf } from '../../kernel/answer-of';
import { ClientProxyDelivery } from './client-proxy-delivery';
import {
  type ClientProxySinkOptions,
  type MessageClient,
  type MessageData,
  type MessagePattern,
  readClientProxyOptions,
  type ResolvedClientProxyOptions,
} from './client-proxy-options';
import { OverdueError } from './client-proxy-unsettled';
import type { CostRecordSink } from '../cost-record.sink';

export type { ClientProxySinkOptions, MessageClient, MessageData, MessagePattern };

/** Some clients of Nest 11 stay as they are once they have given up: one of our own is made anew. */
const FAILURES_OF_ONE_CLIENT = 3;

/**
 * Sends cost records to a broker or to another service with a `ClientProxy` of `@nestjs/microservices`:
 * Kafka, RabbitMQ, NATS, JetStream, Redis, MQTT, TCP.
 *
 * A message is delivered when the client says so; what that means depends on the transport and is described in
 * docs/brokers.md. The queue repeats what was not delivered: a message that was in flight, and up to 15 behind it, may
 * arrive twice.
 *
 * @example
 * import { ClientProxyFactory, Transport } from '@nestjs/microservices';
 * import { ClientProxySink } from 'nestjs-async-context/microservices';
 *
 * const options = { servers: 'nats://broker.internal:4222' };
 * const client = () => ClientProxyFactory.create({ transport: Transport.NATS, options });
 * AsyncContextModule.forRoot({ sinks: [new ClientProxySink({ client })] });
 */
export class ClientProxySink implements CostRecordSink {
  readonly name: string;
  readonly #options: ResolvedClientProxyOptions;
  #delivery: ClientProxyDelivery | undefined;
  #failures = 0;

  /** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
  constructor(options: ClientProxySinkOptions) {
    this.#options = readClientProxyOptions(options);
    const { client, pattern } = this.#options;
    this.name = `client-proxy ${typeof pattern === 'string' ? pattern : JSON.stringify(pattern)}`;
    if (typeof client !== 'function') this.#delivery = new ClientProxyDelivery(client, this.#options);
  }

  /**
   * @throws the client's error, with the number of records that were `delivered`, and of those that were `rejected`
   * because the broker does not accept messages of that size
   */
  async write(records: readonly CostRecord[]): Promise<void> {
    try {
      await outside(() => this.#deliver(records));
      this.#failures = 0;
    } catch (error) {
      // One that hangs may not end either: each would keep its connection to a server that is stuck.
      if (!(error instanceof OverdueError)) this.#failures += 1;
      if (this.#failures >= FAILURES_OF_ONE_CLIENT) {
        this.#failures = 0;
        void this.#release().catch(() => undefined);
      }
      throw error;
    }
  }

  /** Closes the client, unless it was injected and its owner closes it. */
  async close(): Promise<void> {
    const { client } = this.#options;
    // Nest closes those of `ClientsModule` before the last batch, which connects them again.
    if (typeof client === 'function') await this.#release();
    else if ('onApplicationShutdown' in client) await outside(async () => this.#delivery?.close());
  }

  #deliver(records: readonly CostRecord[]): Promise<void> {
    const { client } = this.#options;
    if (typeof client === 'function')
      this.#delivery ??= new ClientProxyDelivery(answerOf(client(), 'client()'), this.#options);
    return this.#delivery!.deliver(records);
  }

  /** Lets go of a client that was made for the sink; the next batch makes another. */
  async #release(): Promise<void> {
    if (typeof this.#options.client !== 'function') return;
    const delivery = this.#delivery;
    this.#delivery = undefined;
    await outside(async () => delivery?.close());
  }
}

// What is sent belongs to nobody; and a client connects when it is first used, and would keep a context.
function outside<T>(fn: () => Promise<T>): Promise<T> {
  return contextStorage.run(undefined as never, () => runUncharged(fn));
}
