import { clearInterval, setInterval } from '../../kernel/real-timers';
import type { RequestContext } from '../../context/request-context';
import type { PoolWatch } from '../../detectors/pools/pool-watch';

const SAMPLE_MS = 20;

/** How much of a pool one request holds, and for how long: looked at now and then, as only one at a time tries. */
export class HeldShare {
  readonly #timer: NodeJS.Timeout;
  #wholePoolMs = 0;
  #sampledMs = performance.now();
  #share = 0;

  constructor(pools: PoolWatch, context: RequestContext) {
    this.#timer = setInterval(() => {
      this.#add();
      this.#share = pools.shareOf(context);
    }, SAMPLE_MS).unref();
  }

  /** Milliseconds, as if each connection that it held had been its whole pool. */
  end(): number {
    clearInterval(this.#timer);
    this.#add();
    return this.#wholePoolMs;
  }

  #add(): void {
    const now = performance.now();
    this.#wholePoolMs += this.#share * (now - this.#sampledMs);
    this.#sampledMs = now;
  }
}
