import type { DriverInstrumentation, QueryReporter } from '../instrumentation/driver-instrumentation';
import { loadedCopies } from '../kernel/loaded-copies';
import { prototypesOf, replaceMethods } from '../kernel/method-replacement';
import { takingBack } from '../kernel/take-back';
import { declaredName, publishCounted } from './published-messages';

const NAME = 'kafkajs';

interface TopicMessages {
  readonly topic?: string;
  readonly messages?: readonly unknown[];
}

type Send = (record: TopicMessages) => Promise<unknown>;
type SendBatch = (batch: { readonly topicMessages?: readonly TopicMessages[] }) => Promise<unknown>;

interface Sender {
  send: Send;
  sendBatch: SendBatch;
  transaction?: (...args: unknown[]) => Promise<Sender>;
}

type MakeProducer = (this: unknown, ...args: unknown[]) => Sender;

/** What `kafkajsInstrumentation()` of the package installs. */
export function kafkajsInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      // What the package exports may be a subclass of its class: dd-trace hands one over.
      const exported = loadedCopies(NAME, 'index.js').map(copy => (copy as { Kafka?: unknown }).Kafka);
      const classes = prototypesOf(...loadedCopies(NAME, 'src/index.js'), ...exported);
      const undo = replaceMethods<MakeProducer>(classes, 'producer', original => {
        return function producer(...args) {
          return count(original.apply(this, args), reporter);
        };
      });
      return takingBack(undo);
    },
  };
}

/** A producer is an object of its own functions, and so is its transaction. */
function count(sender: Sender, reporter: QueryReporter): Sender {
  const { send, sendBatch, transaction } = sender;
  sender.send = function sendCounted(record) {
    return publishCounted(reporter, topicsOf([record]), sendCounted, () => send(record));
  };
  sender.sendBatch = function sendCounted(batch) {
    return publishCounted(reporter, topicsOf(batch?.topicMessages), sendCounted, () => sendBatch(batch));
  };
  if (transaction !== undefined) {
    sender.transaction = async (...args) => count(await transaction(...args), reporter);
  }
  return sender;
}

function topicsOf(records: readonly TopicMessages[] = []): string[] {
  return records.flatMap(record => {
    const topic = declaredName(record?.topic);
    return Array.from(record?.messages ?? [], () => topic);
  });
}
