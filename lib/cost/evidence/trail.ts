import type { ShapeCost } from '../shape-cost';
import type { Given } from './given-values';
import { KeptResults } from './kept-results';
import type { ReadsValues } from './operation-values';
import type { StatementNames } from './statement-names';
import type { ValueMatch } from './value-match';

/** What is held of one statement of a unit of work in which something runs a third time. */
export class Trail {
  /** Its text, of the first run, or what stands for one. */
  text: string | ReadsValues | undefined = undefined;
  names: StatementNames | undefined = undefined;
  match: ValueMatch | undefined = undefined;
  /** What its runs were given, and how many runs that is of. */
  given: (Given & { readonly runs: number }) | undefined = undefined;
  readonly results: KeptResults;

  constructor(shape: ShapeCost) {
    this.results = new KeptResults(shape);
  }
}
