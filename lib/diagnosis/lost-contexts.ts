import { Logger } from '@nestjs/common';
import { callSitesOf, captureStack } from '../cost/call-site';
import type { Statement } from '../cost/statement';

const WINDOW_MS = 60_000;
const MAX_SITES = 1_000;
/** A stack costs some 20 µs to read; a busy poller must not pay that for each of its queries. */
const STACKS_PER_SECOND = 50;

interface Site {
  nextAt: number;
  suppressed: number;
}

/** Counts queries that no unit of work made, and says where they come from. */
export class LostContexts {
  /** Queries outside of any unit of work since the first application was serving. */
  count = 0;
  /** Applications that serve; before and after, queries outside are what starting and stopping takes. */
  serving = 0;
  readonly #logger = new Logger('AsyncContext');
  readonly #sites = new Map<string, Site>();
  #stacks = 0;
  #stacksSince = 0;

  report(statement: Statement, below: (...args: never[]) => unknown): void {
    if (this.serving === 0) return;
    this.count += 1;
    const now = Date.now();
    if (now - this.#stacksSince >= 1_000) {
      this.#stacksSince = now;
      this.#stacks = 0;
    }
    if (this.#stacks >= STACKS_PER_SECOND) return;
    this.#stacks += 1;
    const stack = callSitesOf(captureStack(below), 5);
    this.#say(stack[0] ?? statement.shape, stack, statement, now);
  }

  #say(key: string, stack: readonly string[], statement: Statement, now: number): void {
    const site = this.#sites.get(key) ?? { nextAt: 0, suppressed: 0 };
    if (now < site.nextAt) {
      site.suppressed += 1;
      return;
    }
    const more = site.suppressed > 0 ? ` ${site.suppressed} more from there were not logged.` : '';
    if (this.#sites.size >= MAX_SITES) this.#sites.clear();
    this.#sites.set(key, { nextAt: now + WINDOW_MS, suppressed: 0 });
    const where = stack.length > 0 ? stack.map(frame => `\n    at ${frame}`).join('') : '';
    this.#logger.warn(
      `A query ran outside of any unit of work and is charged to nobody: ${statement.shape}.${more} ` +
        'Wrap the work in contextService.run(seed, fn) or @RunInContext(), or the callback that lost ' +
        `the context in contextService.bind(fn).${where}`,
    );
  }
}
