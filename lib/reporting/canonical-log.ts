import { contextStorage } from '../context/context-storage';
import { ownLogFields } from '../context/own-log-fields';
import { contextLogFields } from './log-fields';
import type { RequestContext } from '../context/request-context';
import type { CostRecord } from '../cost/cost-record';
import { recordAtClose } from '../record/record-at-close';
import type { HookErrorReporter } from './hook-error-reporter';
import { CanonicalLine, levelOf } from './canonical-line';
import { ReportLogger } from './report-logger';

/** Logs one line for each unit of work when it has closed, or for those that the filter selects. */
export class CanonicalLog {
  readonly #logger = new ReportLogger('Request');
  readonly #option: true | ((record: CostRecord) => boolean);
  readonly #hookErrors: HookErrorReporter;

  constructor(option: true | ((record: CostRecord) => boolean), hookErrors: HookErrorReporter) {
    this.#option = option;
    this.#hookErrors = hookErrors;
  }

  /** Nothing for a part of a request, such as a command: the line of the request includes its cost. */
  write(context: RequestContext): void {
    if (context.within !== undefined) return;
    contextStorage.run(context, () => {
      // First: who asks gives the unit of work its trace, and the record says the same as the line.
      const ids = contextLogFields()!;
      const record = recordAtClose(context);
      if (this.#isWanted(record))
        this.#logger.write(levelOf(record), new CanonicalLine(record, ids, ownLogFields(context)));
    });
  }

  #isWanted(record: CostRecord): boolean {
    const wants = this.#option;
    return wants === true || this.#hookErrors.ask('canonicalLog', () => wants(record)) === true;
  }
}
