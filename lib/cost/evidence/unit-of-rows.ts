import type { ShapeCost } from '../shape-cost';
import type { StatementNames } from './statement-names';

/** What one unit of work knows of its statements, as far as it takes to find where values come from. */
export interface UnitOfRows {
  /** The statements that have returned rows, in the order of their first ones. */
  readonly parents: readonly ShapeCost[];
  /** How many cells may still be searched. Without a bound, hundreds of statements that repeat block the event loop for seconds. */
  cellsLeft: number;
  /** What the tables and columns of a statement are called. */
  namesOf(parent: ShapeCost): StatementNames | undefined;
  /** Whether one of its statements is about this. */
  isTable(entity: string): boolean;
}
