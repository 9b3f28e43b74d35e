import { contextStorage } from '../context/context-storage';
import type { DriverInstrumentation } from '../instrumentation/driver-instrumentation';
import { loadedCopies } from '../kernel/loaded-copies';
import { replaceMethod } from '../kernel/method-replacement';
import { takingBack } from '../kernel/take-back';
import { beginMessages, withoutIds } from './published-messages';

const NAME = 'nats';
/** The package of version 2, and the one that version 3 is made of. */
const FILES = [
  [NAME, 'lib/nats-base-client/nats.js'],
  ['@nats-io/nats-core', 'lib/nats.js'],
] as const;
/** What JetStream is told and asked: acknowledgements, and its administration. */
const OF_JETSTREAM = '$JS.';

type Connect = (this: unknown, options: unknown) => unknown;
type Publish = (this: unknown, subject: string, ...rest: unknown[]) => unknown;

/** What `natsInstrumentation()` of the package installs. */
export function natsInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const copies = FILES.flatMap(([name, file]) => loadedCopies(name, file));
      const undo = copies.flatMap(copy => {
        const { NatsConnectionImpl } = copy as { NatsConnectionImpl?: { prototype: object } };
        if (NatsConnectionImpl === undefined) return [];
        // It reads in a loop that goes on in the context of who connects, and calls back who subscribes.
        const connects = replaceMethod<Connect>(NatsConnectionImpl, 'connect', original => {
          return function connect(options) {
            return contextStorage.runAsOpener(() => original.call(this, options));
          };
        });
        // `request()` calls it, and JetStream's `publish()` calls that.
        const publishes = replaceMethod<Publish>(NatsConnectionImpl.prototype, 'publish', original => {
          return function publish(subject, ...rest) {
            if (String(subject).startsWith(OF_JETSTREAM)) return original.call(this, subject, ...rest);
            const message = beginMessages(reporter, [withoutIds(String(subject))], publish);
            try {
              const result = original.call(this, subject, ...rest);
              message.end();
              return result;
            } catch (error) {
              message.end(true);
              throw error;
            }
          };
        });
        return [...connects, ...publishes];
      });
      return takingBack(undo);
    },
  };
}
