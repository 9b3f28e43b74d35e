import type { SinkFailure } from './cost-record.sink';

/** How a batch that a sink has refused is offered again, in milliseconds. */
export interface SinkRetrySettings {
  readonly retryDelayMs: number;
  readonly maxRetryDelayMs: number;
  readonly retryForMs: number;
}

/** Tries of one batch at shutdown: a sink that is down must not use up the grace period. */
const TRIES_WHILE_CLOSING = 3;

/** Says how long one sink is left alone after a failure, and when a batch is given up. */
export class SinkRetry {
  readonly #settings: SinkRetrySettings;
  #failures = 0;
  #triesLeft = Infinity;
  #wake: (() => void) | undefined;

  constructor(settings: SinkRetrySettings) {
    this.#settings = settings;
  }

  /** The sink has taken something. */
  succeeded(): void {
    this.#failures = 0;
    if (this.#triesLeft !== Infinity) this.#triesLeft = TRIES_WHILE_CLOSING;
  }

  /** Whether a batch that was first offered then is given up, now that it has failed. */
  givesUp(failure: SinkFailure, sinceMs: number): boolean {
    this.#triesLeft -= 1;
    if (this.#triesLeft <= 0 || failure.retryable === false) return true;
    return performance.now() - sinceMs >= this.#settings.retryForMs;
  }

  /** Waits until the sink may be asked again: twice as long after each failure, less up to a half. */
  pause(): Promise<void> {
    const { retryDelayMs, maxRetryDelayMs } = this.#settings;
    const most = Math.max(retryDelayMs, maxRetryDelayMs);
    const ms = Math.min(most, retryDelayMs * 2 ** Math.min(this.#failures, 31));
    this.#failures += 1;
    return new Promise(resolve => {
      // By chance, so that a thousand instances do not all ask a server that has just come back.
      const timer = setTimeout(resolve, ms * (1 - Math.random() / 2)).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** From now on there is little time: no pause goes on, and the next ones are short. */
  hurry(): void {
    this.#failures = 0;
    this.#triesLeft = TRIES_WHILE_CLOSING;
    this.#wake?.();
  }
}

/** The error of a write with what it says of the batch; what takes no field, such as a frozen one, is the cause. */
export function writeFailure(reason: unknown, failure: SinkFailure): Error {
  try {
    if (reason instanceof Error) return Object.assign(reason, failure);
  } catch {
    // Below.
  }
  return Object.assign(new Error('the write failed', { cause: reason }), failure);
}

/** What an error says about a batch of so many records; nothing that it says is trusted. */
export function readFailure(reason: unknown, records: number): Required<SinkFailure> {
  let failure: Record<keyof SinkFailure, unknown> | undefined;
  try {
    const { retryable, delivered, rejected } = (reason ?? {}) as Record<keyof SinkFailure, unknown>;
    failure = { retryable, delivered, rejected };
  } catch {
    // A getter of the sink's own; then it is a failure like any other.
  }
  const delivered = countOf(failure?.delivered, records);
  return {
    retryable: failure?.retryable !== false,
    delivered,
    rejected: countOf(failure?.rejected, records - delivered),
  };
}

function countOf(value: unknown, most: number): number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? Math.min(value, most) : 0;
}
