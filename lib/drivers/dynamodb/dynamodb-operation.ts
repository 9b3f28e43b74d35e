import { RecentMap } from '../../kernel/recent-map';
import type { Statement } from '../../sql/statement';

/** The input of a command, as far as it is looked at: of the bare client, or of a document client. */
export interface CommandInput {
  readonly TableName?: unknown;
  readonly IndexName?: unknown;
  /** By table, of BatchGetItem and BatchWriteItem. */
  readonly RequestItems?: unknown;
  /** Each with one action, of TransactGetItems and TransactWriteItems. */
  readonly TransactItems?: unknown;
  /** PartiQL. */
  readonly Statement?: unknown;
  readonly Statements?: unknown;
  readonly TransactStatements?: unknown;
}

interface CommandOutput {
  readonly Item?: unknown;
  readonly Items?: unknown;
  readonly Count?: unknown;
  readonly Responses?: unknown;
  readonly UnprocessedItems?: unknown;
}

const MAX_TABLES = 10;
const MAX_NAME_LENGTH = 200;
const READS = /^(?:Get|Query|Scan|BatchGet|TransactGet|Describe|List)/;

const known = new RecentMap<Statement>(1_000);

/** `Query orders`, `Query orders by_customer` for an index, `TransactWriteItems orders, stock`. */
export function describeCommand(operation: string, input: CommandInput): Statement {
  const tables = tablesOf(input);
  const names = [operation, tables.join(', ')];
  if (typeof input.IndexName === 'string') names.push(input.IndexName);
  const shape = names.filter(Boolean).join(' ').slice(0, 2_048);
  const reads = READS.test(operation) || areSelects(input.Statements ?? input.TransactStatements);
  // Several statements of PartiQL read all, or write all.
  const key = reads ? shape : `!${shape}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const statement: Statement = Object.freeze({
    shape,
    table: tables[0],
    operation,
    kind: reads ? 'read' : 'write',
  });
  known.set(key, statement);
  return statement;
}

/** Items that a command has returned or written. Never throws. */
export function rowsOfOutput(operation: string, input: CommandInput, output: unknown): number {
  try {
    return typeof output === 'object' && output !== null ? rowsOf(operation, input, output) : 0;
  } catch {
    // A middleware of the application's own may give anything.
    return 0;
  }
}

function rowsOf(operation: string, input: CommandInput, output: CommandOutput): number {
  switch (operation) {
    case 'PutItem':
    case 'UpdateItem':
    case 'DeleteItem':
      return 1;
    case 'GetItem':
      return output.Item === undefined ? 0 : 1;
    case 'BatchWriteItem':
      return itemsByTable(input.RequestItems) - itemsByTable(output.UnprocessedItems);
    case 'TransactWriteItems':
      return lengthOf(input.TransactItems);
  }
  const { Items: items, Count: count, Responses: responses } = output;
  if (Array.isArray(items)) return items.length;
  if (typeof count === 'number') return count;
  if (Array.isArray(responses)) {
    return responses.filter(response => (response as CommandOutput | null)?.Item !== undefined).length;
  }
  return itemsByTable(responses);
}

function tablesOf({ TableName, RequestItems, TransactItems }: CommandInput): string[] {
  if (typeof TableName === 'string') return [nameOf(TableName)];
  const tables = new Set<string>();
  const names = isObject(RequestItems) ? Object.keys(RequestItems) : [];
  if (Array.isArray(TransactItems)) names.push(...TransactItems.flatMap(tableOfAction));
  for (const name of names) if (tables.size < MAX_TABLES) tables.add(nameOf(name));
  return [...tables];
}

function areSelects(statements: unknown): boolean {
  const first = Array.isArray(statements)
    ? (statements[0] as CommandInput | undefined)?.Statement
    : undefined;
  return typeof first === 'string' && /^\s*select\b/i.test(first);
}

/** `{ Put: { TableName: 'orders', … } }` */
function tableOfAction(item: unknown): string[] {
  const actions = isObject(item) ? Object.values(item) : [];
  return actions.flatMap(action => {
    const name = (action as CommandInput | null | undefined)?.TableName;
    return typeof name === 'string' ? [name] : [];
  });
}

/** An ARN ends with the name of its table: `arn:aws:dynamodb:eu-west-1:123456789012:table/orders`. */
function nameOf(table: string): string {
  return table.slice(table.startsWith('arn:') ? table.indexOf('/') + 1 : 0).slice(0, MAX_NAME_LENGTH);
}

/** Lists of items, or `{ Keys: [...] }`, by table. */
function itemsByTable(tables: unknown): number {
  return isObject(tables)
    ? Object.values(tables).reduce<number>((sum, items) => sum + lengthOf(items), 0)
    : 0;
}

const lengthOf = (list: unknown): number => (Array.isArray(list) ? list.length : 0);
const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
