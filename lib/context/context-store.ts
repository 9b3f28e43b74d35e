import { AsyncLocalStorage } from 'node:async_hooks';
import type { RequestContext } from './request-context';

/** What runs in the context of who opened a connection. */
class ByConnection {
  readonly opener: RequestContext;
  /** Whether the connection was opened by that work itself, and not in an event of another connection. */
  readonly isCertain: boolean;

  constructor(opener: RequestContext, isCertain: boolean) {
    this.opener = opener;
    this.isCertain = isCertain;
  }
}

/** What a callback is brought back to: the context that it was made in, and whether that is certain. */
export type Captured = RequestContext | ByConnection | undefined;

/**
 * The storage of contexts. It knows what has come by way of a connection.
 *
 * Node runs the events of a connection in the context of who opened it, and with them the callbacks of
 * others that use it. The context stays the one that bare Node gives, but it is not certain, nor is it in
 * the timers and promises that come of such an event. A store of its own says so wherever Node carries
 * it; telling the two apart costs 2 to 5 ns for each `getStore()`.
 */
export class ContextStore extends AsyncLocalStorage<Captured> {
  /** What Node carries; its own methods would take what is not certain for what is. */
  readonly native = new AsyncLocalStorage<Captured>();
  #isOpening = false;

  constructor() {
    super();
    const { native } = this;
    // Assigned, because passing the arguments on costs more than the storage itself.
    this.run = native.run.bind(native) as typeof this.run;
    this.exit = native.exit.bind(native) as typeof this.exit;
    this.enterWith = native.enterWith.bind(native);
    this.disable = native.disable.bind(native);
  }

  /** The context of the work that runs. */
  override getStore(): RequestContext | undefined {
    const store = this.native.getStore();
    return store instanceof ByConnection ? store.opener : store;
  }

  /** For a callback that is brought back later: as certain as it is now. */
  capture(): Captured {
    return this.native.getStore();
  }

  /** The context that was captured, where it is certain. */
  certain(captured: Captured): RequestContext | undefined {
    return captured instanceof ByConnection ? undefined : captured;
  }

  /** A context to run in that is opened now: as certain as what opens it. */
  alike(context: RequestContext): Captured {
    return this.native.getStore() instanceof ByConnection ? new ByConnection(context, false) : context;
  }

  /** Who has opened the connection that this runs by way of, where that is certain. */
  opener(): RequestContext | undefined {
    const store = this.native.getStore();
    return store instanceof ByConnection && store.isCertain ? store.opener : undefined;
  }

  /** Runs what opens a connection. */
  runAsOpener<T>(fn: () => T): T {
    // TLS opens a socket below it.
    if (this.#isOpening) return fn();
    const captured = this.captureAsOpener();
    if (captured === undefined) return fn();
    this.#isOpening = true;
    try {
      return this.run(captured, fn);
    } finally {
      this.#isOpening = false;
    }
  }

  /** What the events of a connection are run in that is opened now. */
  captureAsOpener(): Captured {
    const opener = this.getStore();
    return opener && new ByConnection(opener, this.certain(this.capture()) !== undefined);
  }
}
