import { inContext } from '../instrumentation/caller-context';
import type { DriverInstrumentation, QueryReporter } from '../instrumentation/driver-instrumentation';
import { loadedCopies } from '../kernel/loaded-copies';
import { replaceMethod } from '../kernel/method-replacement';
import { takingBack } from '../kernel/take-back';
import { beginMessages, declaredName, withoutIds } from './published-messages';

const NAME = 'amqplib';

type Publish = (this: unknown, exchange: string, routingKey: string, ...rest: unknown[]) => unknown;
type Confirm = (...args: unknown[]) => unknown;

interface Model {
  readonly Channel: { readonly prototype: object };
  readonly ConfirmChannel: { readonly prototype: object };
}

/** What `amqplibInstrumentation()` of the package installs. */
export function amqplibInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const files = ['lib/channel_model.js', 'lib/callback_model.js'];
      const models = files.flatMap(file => loadedCopies(NAME, file)) as Model[];
      const undo = models.flatMap(({ Channel, ConfirmChannel }) => [
        // `sendToQueue()` calls it, and the channels that wait for a confirmation do.
        ...replaceMethod<Publish>(Channel.prototype, 'publish', original => count(original, reporter)),
        ...replaceMethod<Publish>(ConfirmChannel.prototype, 'publish', confirmInContext),
      ]);
      return takingBack(undo);
    },
  };
}

function count(original: Publish, reporter: QueryReporter): Publish {
  return function publish(exchange, routingKey, ...rest) {
    const target = exchange === '' ? `queue ${withoutIds(String(routingKey))}` : declaredName(exchange);
    const message = beginMessages(reporter, [target], publish);
    try {
      const isBelowHighWater = original.call(this, exchange, routingKey, ...rest);
      message.end();
      return isBelowHighWater;
    } catch (error) {
      message.end(true);
      throw error;
    }
  };
}

/** A confirmation is read from the socket, in the context of whoever opened it. */
function confirmInContext(original: Publish): Publish {
  return function publish(exchange, routingKey, ...rest) {
    const last = rest.findLastIndex(arg => typeof arg === 'function');
    const callback = rest[last] as Confirm | undefined;
    if (callback !== undefined) rest[last] = inContext(callback);
    return original.call(this, exchange, routingKey, ...rest);
  };
}
