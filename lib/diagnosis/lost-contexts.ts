import { Logger } from '@nestjs/common';
import { oneLine } from '../context/one-line';
import { callSitesOf, captureStack } from '../cost/call-site';
import type { Statement } from '../cost/statement';
import { cut } from './report-text';
import { type ReportKind, reports } from './reports';

const LOST_CONTEXTS: ReportKind = {
  name: 'queries outside of any request',
  one: 'query outside of any request',
  isError: false,
};

/** A stack costs some 20 µs to read; a busy poller must not pay that for each of its queries. */
const STACKS_PER_SECOND = 50;

/** Counts queries that no unit of work made, and says where they come from. */
export class LostContexts {
  /** Queries outside of any unit of work since the first application was serving. */
  count = 0;
  /** Applications that serve; before and after, queries outside are what starting and stopping takes. */
  serving = 0;
  readonly #logger = new Logger('AsyncContext');
  #stacks = 0;
  #stacksSinceMs = -Infinity;

  report(statement: Statement, below: (...args: never[]) => unknown): void {
    if (this.serving === 0) return;
    this.count += 1;
    const nowMs = performance.now();
    const passedMs = nowMs - this.#stacksSinceMs;
    // Fake timers may turn back even this clock.
    if (passedMs >= 1_000 || passedMs < 0) {
      this.#stacksSinceMs = nowMs;
      this.#stacks = 0;
    }
    if (this.#stacks >= STACKS_PER_SECOND) {
      reports.holdBack(LOST_CONTEXTS, cut(statement.shape));
      return;
    }
    this.#stacks += 1;
    const stack = callSitesOf(captureStack(below), 5);
    const suppressed = reports.admit(LOST_CONTEXTS, stack[0] ?? cut(statement.shape));
    if (suppressed === undefined) return;
    const more = suppressed > 0 ? ` ${suppressed} more from there were not logged.` : '';
    const where = stack.map(frame => `\n    at ${oneLine(frame)}`).join('');
    this.#logger.warn(
      `A query ran outside of any request, job or message, and is charged to nobody: ${oneLine(statement.shape)}.${more} ` +
        'Wrap the work in contextService.run(seed, fn) or @RunInContext(), or the callback that lost ' +
        `the context in contextService.bind(fn).${where}`,
    );
  }
}
