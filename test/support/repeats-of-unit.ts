import type { TestApp } from './platforms';
import { recordOfUnit } from './units';

/** An N+1 that a unit of work has shown; tables are named as they are, columns as the driver does. */
export interface Repeat {
  readonly table: string | undefined;
  readonly confidence: 'proven' | 'suspected' | undefined;
  readonly parents: readonly { readonly table: string | undefined; readonly column: string | undefined }[];
}

/** One that is proven, for each value of one column. */
export function proven(table: string, parent: string, column: string): Repeat {
  return { table, confidence: 'proven', parents: [{ table: parent, column }] };
}

/** What N+1 some work shows in its own unit of work. */
export async function repeatsOf(test: TestApp, work: () => unknown): Promise<Repeat[]> {
  const { findings = [] } = await recordOfUnit(test, work);
  return findings
    .filter(({ kind }) => kind === 'n-plus-one')
    .map(({ table, confidence, parents }) => ({
      table,
      confidence,
      parents: parents.map(({ table, column }) => ({ table, column })),
    }));
}
