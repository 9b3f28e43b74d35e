/** A query of Postgres.js before it is sent; what a fragment, `sql(name)` or `sql(values)` is as well. */
export interface PostgresQuery {
  readonly strings: readonly string[];
  readonly args: readonly unknown[];
  readonly handler: { readonly name: string };
  executed: boolean;
  resolve: (result: unknown) => unknown;
  reject: (error: unknown) => unknown;
  forEachFn?: (...args: unknown[]) => unknown;
  cursorFn?: (...args: unknown[]) => unknown;
}

/** A fragment, a name, a list or a typed value. */
interface Part extends Partial<PostgresQuery> {
  readonly value?: unknown;
  readonly first?: unknown;
  readonly rest?: unknown;
}

const MAX_DEPTH = 5;
/** Classes of the driver that stand for their value. */
const NAMED: ReadonlySet<string | undefined> = new Set(['Identifier', 'Parameter']);

/** The statement as it will be sent, as far as its shape goes: fragments and names in, values out. */
export function textOf({ strings, args }: PostgresQuery, depth = 0): string {
  let text = strings[0] ?? '';
  for (let i = 1; i < strings.length; i++) text += part(args[i - 1], i, depth) + (strings[i] ?? '');
  return text;
}

/** What the values are that go with it: those of fragments, of `sql(values)` and of typed values as well. */
export function parametersOf(args: readonly unknown[], depth = 0): unknown[] {
  return args.map(arg => {
    if (typeof arg !== 'object' || arg === null || depth >= MAX_DEPTH) return arg;
    const { args: inner, first, rest, value } = arg as Part;
    if (Array.isArray(inner)) return parametersOf(inner, depth + 1);
    if (rest !== undefined) return [first, rest];
    return NAMED.has(arg.constructor?.name) ? value : arg;
  });
}

/** Rows of a result, or of the results of several statements. */
export function rowsOf(result: unknown): number {
  const { count } = (result ?? {}) as { count?: number | null };
  if (typeof count === 'number') return count;
  return Array.isArray(result) ? result.reduce<number>((sum, one) => sum + countOf(one), 0) : 0;
}

function countOf(result: unknown): number {
  return (result as { count?: number } | null)?.count ?? 0;
}

function part(arg: unknown, position: number, depth: number): string {
  if (typeof arg !== 'object' || arg === null || depth >= MAX_DEPTH) return `$${position}`;
  const { strings, args, value, first, rest } = arg as Part;
  if (Array.isArray(strings) && Array.isArray(args)) return textOf(arg as PostgresQuery, depth + 1);
  // `sql(['id', 'name'])` and `sql(row)` write a list; `sql('orders')` a name.
  if (rest !== undefined && first !== undefined)
    return typeof first === 'string' ? quoted(first) : `($${position})`;
  return arg.constructor.name === 'Identifier' && typeof value === 'string' ? value : `$${position}`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '')}"`;
}
