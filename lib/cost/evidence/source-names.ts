import type { SourceColumn } from './column-index';
import { type ColumnName, entityOf } from './key-names';
import type { StatementNames } from './statement-names';

/** The table of a column of a result, and its name there, as far as the statement says. */
export function nameOfSource(
  { name, inner }: SourceColumn,
  statement: StatementNames | undefined,
  table: string | undefined,
): ColumnName {
  const main = table ?? statement?.main;
  // `json_agg(…) AS orders`: its `id` is that of an order.
  if (inner !== undefined) return { table: entityOf(name), column: inner };
  const known = statement?.outputs.get(name);
  if (known !== undefined && isTable(known.table, statement))
    return { table: known.table ?? main, column: known.column };
  // Of a query in brackets (`distinctAlias`), what its column is called there says more than its own name.
  return nameByAlias(known?.column ?? name, statement, main);
}

/** Whether a table is one of the database, as far as the statement says. */
function isTable(table: string | undefined, statement: StatementNames | undefined): boolean {
  if (table === undefined) return true;
  for (const one of statement?.tables.values() ?? []) if (one === table) return true;
  return false;
}

function nameByAlias(
  name: string,
  statement: StatementNames | undefined,
  main: string | undefined,
): ColumnName {
  // TypeORM calls the `id` of what it calls `Order` `Order_id`; what is joined is `Order__Order_items`.
  let longest = '';
  for (const [alias, of] of statement?.tables ?? []) {
    const isPrefix = name.length > alias.length + 1 && name.toLowerCase().startsWith(`${alias}_`);
    if (isPrefix && alias !== of.toLowerCase() && alias.length > longest.length) longest = alias;
  }
  if (longest === '') return { table: main, column: name };
  return { table: statement?.tables.get(longest), column: name.slice(longest.length + 1) };
}
