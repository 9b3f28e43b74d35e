import type { RepeatFinding } from 'nestjs-async-context';
import type { TestApp } from './platforms';
import { recordOfUnit } from './units';

/** How many rows the list has that an N+1 runs over. */
export const MANY = 12;

/** Ids that are no counter. */
export const idOf = (n: number): number => 1_000 + n * n * 37 + (n % 3) * 11;

/** What is said of an N+1. */
export interface Named {
  readonly table: string | undefined;
  readonly parents: readonly string[];
  readonly confidence: RepeatFinding['confidence'];
}

/** An N+1 whose values were found in a column, `table.column`. */
export function named(table: string, column: string): Named {
  return { table, parents: [column], confidence: 'proven' };
}

/** The items of each order, one after the other. */
export const ITEMS_OF_ORDERS = [named('order_items', 'orders.id')];

/** The N+1 of some work. */
export async function foundBy(test: TestApp, work: () => unknown): Promise<Named[]> {
  const { findings = [] } = await recordOfUnit(test, work);
  return findings
    .filter(({ kind }) => kind === 'n-plus-one')
    .map(({ table, parents, confidence }) => ({
      table,
      parents: parents.map(parent => [parent.table, parent.column].filter(Boolean).join('.')),
      confidence,
    }));
}
