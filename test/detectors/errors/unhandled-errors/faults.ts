import { EventEmitter } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { ContextService } from '../../../../lib/index';

const bus = new EventEmitter();
const tasks: (() => void)[] = [];
// Runs outside of any unit of work what one leaves here.
setInterval(() => tasks.shift()?.(), 1).unref();
const hello = createServer(socket => socket.end('hello'))
  .listen(0, '127.0.0.1')
  .unref();

export class PaymentError extends Error {
  readonly code = 'E_PAYMENT';
}
/** What no log line may show. */
export const secret = 'secret-of-a-user';

/** Each loses an error in a way of its own, on a line of its own. */
export const hookErrors: Record<string, (context: ContextService | undefined) => void> = {
  setTimeout: () =>
    void setTimeout(() => {
      throw new PaymentError(secret); // setTimeout
    }, 1),
  setInterval: () => {
    const timer = setInterval(() => {
      clearInterval(timer);
      throw new PaymentError(secret); // setInterval
    }, 1);
  },
  setImmediate: () =>
    void setImmediate(() => {
      throw new PaymentError(secret); // setImmediate
    }),
  nextTick: () =>
    process.nextTick(() => {
      throw new PaymentError(secret); // nextTick
    }),
  queueMicrotask: () =>
    queueMicrotask(() => {
      throw new PaymentError(secret); // queueMicrotask
    }),
  'listener of an emitter': () => {
    const emitter = new EventEmitter().on('paid', () => {
      throw new PaymentError(secret); // listener of an emitter
    });
    setTimeout(() => emitter.emit('paid'), 1);
  },
  'bound listener of an emitter of others': context => {
    const listener = (): never => {
      throw new PaymentError(secret); // bound listener of an emitter of others
    };
    bus.once('paid', context?.bind(listener) ?? listener);
    tasks.push(() => void bus.emit('paid'));
  },
  'listener of a socket': () => {
    const socket = connect((hello.address() as AddressInfo).port, '127.0.0.1');
    socket.on('data', () => {
      throw new PaymentError(secret); // listener of a socket
    });
  },
  'error event of a socket': () => void connect(1, '127.0.0.1'),
  'floating async function': () => void audit(),
  'floating async function that fails at once': () => void auditAtOnce(),
  'promise rejected by others': () => {
    const error = new PaymentError(secret); // promise rejected by others
    void new Promise((_resolve, reject) => tasks.push(() => reject(error)));
  },
  'awaited promise rejected by others': () => void auditOthers(),
  'rejected with undefined': () => void Promise.reject(undefined),
  'rejected with a string': () => void Promise.reject(secret),
  'rejected with a DOMException': () => {
    void Promise.reject(new DOMException(secret, 'DataError')); // rejected with a DOMException
  },
  'rejected with a frozen error': () => {
    void Promise.reject(Object.freeze(new PaymentError(secret))); // rejected with a frozen error
  },
  'thrown undefined': () =>
    void setTimeout(() => {
      throw undefined;
    }, 1),
  'thrown object that cannot be looked at': () =>
    void setTimeout(() => {
      throw new Proxy({}, { get: () => failed() });
    }, 1),
  'a message like a stack': () => {
    const message = `${secret}\n    at ${secret} (${__filename}:1:1)`;
    void Promise.reject(new PaymentError(message)); // a message like a stack
  },
  'a rejection handled a tick later': () => {
    const late = Promise.reject(new PaymentError(secret)); // a rejection handled a tick later
    setTimeout(() => late.catch(() => undefined), 5);
  },
  'two promises of one error': () => {
    const one = Promise.reject(new PaymentError(secret)); // two promises of one error
    void one.then(() => undefined);
    void one.then(() => undefined);
  },
};

async function audit(): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, 1));
  throw new PaymentError(secret); // floating async function
}
export async function auditAtOnce(): Promise<void> {
  throw new PaymentError(secret); // floating async function that fails at once
}
async function auditOthers(): Promise<void> {
  await new Promise((_resolve, reject) => {
    const error = new PaymentError(secret); // awaited promise rejected by others
    tasks.push(() => reject(error));
  });
}
function failed(): never {
  throw new PaymentError(secret);
}
