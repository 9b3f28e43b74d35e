import { EventEmitter } from 'node:events';

/** What both of its APIs are built on. */
export interface MariadbClasses {
  readonly pool: object | undefined;
  readonly connection: object | undefined;
  /** The class around a connection in the API with callbacks. */
  readonly callbackApi: object | undefined;
}

export interface Build {
  readonly version?: string;
  createPool(options: object): { end(done?: () => void): unknown };
  createConnection(options: object): unknown;
}

/**
 * The prototypes of the classes that `mariadb` keeps to itself: in the build for `require` they have no name
 * and no export.
 *
 * Each is an event emitter, and shows itself where Node sets one up (`EventEmitter.init`, which Node's own
 * `node:domain` replaces for good), while one of each is made: a pool without connections, and a connection
 * that waits for the socket it is never given. Neither has a socket or a timer.
 */
export function mariadbClasses({ version, createPool, createConnection }: Build): MariadbClasses {
  if (!isKnown(version)) return { pool: undefined, connection: undefined, callbackApi: undefined };
  let opened: unknown;
  return {
    pool: prototypeWith('_processNextPendingRequest', () => {
      const pool = createPool({ connectionLimit: 1, minimumIdle: 0, idleTimeout: 0 });
      const ended = pool.end(() => undefined);
      if (ended instanceof Promise) ended.catch(() => undefined);
    }),
    connection: prototypeWith('prepareExecute', () => {
      opened = createConnection({ stream: () => undefined, connectTimeout: 0 });
    }),
    callbackApi: opened instanceof Promise ? undefined : opened?.constructor,
  };
}

/** A pool of version 2 connects at once, to the port of this machine, although it may have no connections. */
function isKnown(version = ''): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 4);
}

function prototypeWith(method: string, make: () => void): object | undefined {
  const emitters = EventEmitter as unknown as { init: (this: object, ...args: unknown[]) => void };
  const { init } = emitters;
  const made: object[] = [];
  emitters.init = function (...args) {
    made.push(this);
    init.apply(this, args);
  };
  try {
    make();
  } finally {
    emitters.init = init;
  }
  const prototypes = made.map(one => Object.getPrototypeOf(one) as object);
  return prototypes.find(prototype => Object.hasOwn(prototype, method));
}
