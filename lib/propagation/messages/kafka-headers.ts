import { replaceMethod } from '../../kernel/method-replacement';
import { withFields } from './carrier-fields';
import type { Microservices } from './microservices';

interface Message {
  readonly headers?: object;
}

interface Batch {
  readonly messages?: readonly Message[];
}

interface Producer {
  send(batch: Batch): unknown;
}

type Send = (this: { readonly _producer?: Producer | null }, ...args: unknown[]) => unknown;

/** What sends: requests, events and batches of events. */
const METHODS = ['publish', 'dispatchEvent', 'dispatchBatchEvent'] as const;

/**
 * A message of Kafka has headers beside its value. They are given to it where the client hands it to its
 * producer, after its serializer: into a message that the application made, Nest's writes its own, and the
 * application may send that message again.
 */
export function coverKafka({ ClientKafka }: Microservices): (() => void)[] {
  if (ClientKafka === undefined) return [];
  const covered = new WeakSet<Producer>();
  return METHODS.flatMap(name =>
    replaceMethod<Send>(ClientKafka.prototype, name, original => {
      return function send(...args) {
        const { _producer: producer } = this;
        if (producer && !covered.has(producer)) coverProducer(producer);
        return original.apply(this, args);
      };
    }),
  );

  // Outside of any unit of work it passes everything on: it is not taken back before its client is closed.
  function coverProducer(producer: Producer): void {
    covered.add(producer);
    const { send } = producer;
    producer.send = batch => send.call(producer, withHeaders(batch));
  }
}

function withHeadersOf(message: Message): Message {
  const headers = withFields(message.headers);
  return headers === undefined || headers === message.headers ? message : { ...message, headers };
}

function withHeaders(batch: Batch): Batch {
  try {
    if (!Array.isArray(batch.messages)) return batch;
    return { ...batch, messages: (batch.messages as readonly Message[]).map(withHeadersOf) };
  } catch {
    return batch;
  }
}
