import { invalidOption } from '../../kernel/errors';

/** Room for `_2026_11`, `_partition` and the names of indexes in the 63 bytes of a name. */
const MAX_TABLE_BYTES = 50;
const MAX_NAME_BYTES = 63;

/** The table of the records, quoted for SQL. */
export interface PostgresTable {
  readonly schema: string;
  readonly name: string;
  /** `"public"."cost_records"` */
  readonly quoted: string;
  /** The same with something behind the name. */
  quotedWith(ending: string): string;
}

/**
 * Reads `schema.table`; without a schema, `public`.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 */
export function readTable(table: string, call: string): PostgresTable {
  const parts = typeof table === 'string' ? table.split('.') : [];
  const [schema, name] = parts.length === 1 ? ['public', parts[0]] : parts;
  if (parts.length > 2 || !isName(schema, MAX_NAME_BYTES) || !isName(name, MAX_TABLE_BYTES)) {
    throw invalidOption(
      'table',
      table,
      `Use 'table' or 'schema.table', with a table name of at most ${MAX_TABLE_BYTES} bytes.`,
      call,
    );
  }
  const quotedWith = (ending: string): string => `${quoteName(schema)}.${quoteName(name + ending)}`;
  return { schema, name, quoted: quotedWith(''), quotedWith };
}

function isName(part: string | undefined, mostBytes: number): part is string {
  if (part === undefined || part === '' || part.includes('\0')) return false;
  return Buffer.byteLength(part) <= mostBytes;
}

/** An identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text, whatever `standard_conforming_strings` says. */
export function quoteText(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return text.includes('\\') ? `E${quoted}` : quoted;
}
