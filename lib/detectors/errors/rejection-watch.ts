const EVENT = 'unhandledRejection';

type OnRejection = (reason: unknown) => void;
type Listener = (...args: never[]) => void;

/**
 * Sees the unhandled rejections that `uncaughtExceptionMonitor` is not told of, because the
 * application listens to `unhandledRejection`.
 *
 * A listener keeps Node from ending the process. So there is one only while somebody else has one,
 * or where the mode of the process asks for no listener. It comes first: theirs may end the process.
 */
export class RejectionWatch {
  readonly #listen: OnRejection;
  readonly #mode = modeOf(process.execArgv, process.env['NODE_OPTIONS']);
  #isListening = false;

  constructor(onRejection: OnRejection) {
    this.#listen = reason => onRejection(reason);
  }

  start(): void {
    // The monitor is told first of each rejection.
    if (this.#mode === 'strict') return;
    process.on('newListener', this.#onAdded);
    process.on('removeListener', this.#onRemoved);
    this.#follow(process.listenerCount(EVENT));
  }

  stop(): void {
    process.off('newListener', this.#onAdded);
    process.off('removeListener', this.#onRemoved);
    this.#leave();
  }

  // Called before the listener is added.
  #onAdded = (event: string | symbol, listener: Listener): void => {
    if (event === EVENT && listener !== this.#listen) this.#follow(this.#others() + 1);
  };

  // Called after the listener is removed.
  #onRemoved = (event: string | symbol, listener: Listener): void => {
    if (event !== EVENT) return;
    if (listener === this.#listen) this.#isListening = false;
    else this.#follow(this.#others());
  };

  #others(): number {
    return process.listenerCount(EVENT) - (this.#isListening ? 1 : 0);
  }

  #follow(others: number): void {
    const isHarmless = others > 0 || this.#mode === 'warn' || this.#mode === 'none';
    const most = process.getMaxListeners();
    // One more than the most makes Node warn of a leak.
    if (isHarmless && (most === 0 || others < most)) this.#join();
    else this.#leave();
  }

  #join(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    process.prependListener(EVENT, this.#listen);
  }

  #leave(): void {
    if (!this.#isListening) return;
    this.#isListening = false;
    process.off(EVENT, this.#listen);
  }
}

/** `--unhandled-rejections` of this process; the command line comes after `NODE_OPTIONS`, the last one is in force. */
function modeOf(args: readonly string[], options = ''): string {
  const all = [...options.split(/\s+/), ...args].join(' ');
  return [...all.matchAll(/--unhandled-rejections[= ]"?([\w-]+)/g)].at(-1)?.[1] ?? 'throw';
}
