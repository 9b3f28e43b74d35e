import { RecentMap } from '../../kernel/recent-map';
import type { Statement, StatementKind } from '../../sql/statement';
import { withoutValues } from '../../sql/value-like';

/** A command as the driver sends it: its name is its first key. */
export type Command = Readonly<Record<string, unknown>>;

const MAX_NAMES = 20;
const MAX_DEPTH = 3;
const MAX_LENGTH = 300;

/** What the driver asks for itself: who the server is, who the user is, what it may forget. */
const OF_DRIVER: ReadonlySet<string> = new Set(
  'hello ismaster isMaster saslStart saslContinue authenticate getnonce endSessions killCursors'.split(' '),
);
const CONTROL: ReadonlySet<string> = new Set(['commitTransaction', 'abortTransaction']);
const READS: ReadonlySet<string> = new Set(
  'find getMore aggregate count distinct listCollections listIndexes listDatabases explain ping dbStats collStats buildInfo serverStatus'.split(
    ' ',
  ),
);
const WRITING_STAGES = ['$out', '$merge'];

const RETURNING_CURSORS: ReadonlySet<string> = new Set(['find', 'aggregate', 'getMore']);

/** https://bsonspec.org/spec.html */
const OBJECT = 3;
const ARRAY = 4;

const known = new RecentMap<Statement>(1_000);

/** What is kept of a command: names of operations, collections and fields; `undefined` for the driver's own. */
export function describeCommand(command: Command): Statement | undefined {
  const name = nameOf(command);
  if (OF_DRIVER.has(name)) return undefined;
  const table = tableOf(command, name);
  const detail = detailOf(command, name);
  const named = table === undefined ? name : `${name} ${table}`;
  const shape = (detail === '' ? named : `${named} ${detail}`).slice(0, MAX_LENGTH);
  const interned = known.get(shape);
  if (interned !== undefined) return interned;
  const statement = Object.freeze<Statement>({ shape, table, operation: name, kind: kindOf(command, name) });
  known.set(shape, statement);
  return statement;
}

/** Another batch of a cursor is never the same as the one before. */
const INCOMPARABLE = Symbol('incomparable');

/** What tells two commands of one shape apart: pages of one filter are not the same. */
export function parametersOf(command: Command): unknown {
  if ('getMore' in command) return INCOMPARABLE;
  const filter = command['filter'] ?? command['query'] ?? command['pipeline'];
  const values = isPlain(filter) && Object.values(filter).some(isId) ? withBytesOfIds(filter) : filter;
  const { skip, limit } = command;
  return skip === undefined && limit === undefined ? values : [values, skip, limit];
}

/** An answer of the server: an object, or what the driver reads its bytes with. */
interface Answer {
  readonly batchSize?: number;
  readonly cursor?: { readonly firstBatch?: unknown; readonly nextBatch?: unknown };
  readonly bson?: Uint8Array;
  has?(name: string): boolean;
  /** Gives another such document for one, or for a list. */
  get?(name: string, type: number): Answer | null;
  size?(): number;
  getNumber?(name: string): number | null;
  [name: string]: unknown;
}

/** The documents of an answer, returned or written; whether something failed; its bytes where they are known. */
export function outcomeOf(name: string, value: unknown): [rows: number, failed: boolean, bytes: number] {
  const answer = (value ?? {}) as Answer;
  const failed = answer['ok'] === 0 || has(answer, 'writeErrors');
  return [documentsOf(name, answer), failed, answer.bson?.length ?? 0];
}

function documentsOf(name: string, answer: Answer): number {
  if (typeof answer.batchSize === 'number') return answer.batchSize;
  const batch = answer.cursor?.firstBatch ?? answer.cursor?.nextBatch ?? answer['values'];
  if (Array.isArray(batch)) return batch.length;
  // What `db.command()` is answered with: no cursor of the driver's.
  const cursor = RETURNING_CURSORS.has(name) ? answer.get?.('cursor', OBJECT) : undefined;
  const read = cursor?.get?.('firstBatch', ARRAY) ?? cursor?.get?.('nextBatch', ARRAY);
  if (read?.size !== undefined) return read.size();
  if (name === 'count') return 1;
  if (name === 'distinct') return answer.get?.('values', ARRAY)?.size?.() ?? 0;
  if (name === 'findAndModify')
    return (answer.get?.('value', OBJECT) ?? answer['value'] ?? null) === null ? 0 : 1;
  const { n = answer.getNumber?.('n') } = answer;
  return typeof n === 'number' ? n : 0;
}

function has(answer: Answer, name: string): boolean {
  if (typeof answer.has === 'function') return answer.has(name);
  const value = answer[name];
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null;
}

export function nameOf(command: Command): string {
  for (const name in command) return name;
  return '?';
}

function tableOf(command: Command, name: string): string | undefined {
  const collection = name === 'getMore' ? command['collection'] : command[name];
  return typeof collection === 'string' ? withoutValues(collection) : undefined;
}

function kindOf(command: Command, name: string): StatementKind {
  if (CONTROL.has(name)) return 'transaction';
  if (!READS.has(name)) return 'write';
  return stagesOf(command).some(stage => WRITING_STAGES.includes(nameOf(stage))) ? 'write' : 'read';
}

/** The fields that are asked for, or the stages of a pipeline. */
function detailOf(command: Command, name: string): string {
  switch (name) {
    case 'aggregate':
      return `[${stagesOf(command).map(describeStage).join(', ')}]`;
    case 'update':
    case 'delete': {
      const list = command[`${name}s`] as
        readonly { q?: unknown }[] | { documents?: { q?: unknown }[] } | undefined;
      const documents = Array.isArray(list) ? list : (list as { documents?: { q?: unknown }[] })?.documents;
      return describeFields(documents?.[0]?.q, 0);
    }
    case 'distinct':
      return `${withoutValues(String(command['key']))} ${describeFields(command['query'], 0)}`;
    default:
      return describeFields(command['filter'] ?? command['query'], 0);
  }
}

function stagesOf(command: Command): Command[] {
  const { pipeline } = command as { pipeline?: unknown };
  return Array.isArray(pipeline) ? (pipeline.slice(0, MAX_NAMES) as Command[]) : [];
}

function describeStage(stage: Command): string {
  const name = nameOf(stage);
  if (name === '$match') return `$match ${describeFields(stage[name], 0)}`;
  const { from } = (stage[name] ?? {}) as { from?: unknown };
  return name === '$lookup' && typeof from === 'string' ? `$lookup ${withoutValues(from)}` : name;
}

/** `{status: ?, total: {$gt: ?}}`: names, and a mark for each value, also for one that is a name. */
function describeFields(value: unknown, depth: number): string {
  if (Array.isArray(value)) {
    const isLogic = depth < MAX_DEPTH && value.length <= MAX_NAMES && value.every(isPlain);
    return isLogic ? `[${[...new Set(value.map(item => describeFields(item, depth + 1)))].join(', ')}]` : '?';
  }
  if (!isPlain(value) || depth >= MAX_DEPTH) return depth === 0 ? '' : '?';
  let fields = '';
  let count = 0;
  for (const name of Object.keys(value)) {
    if (fields !== '') fields += ', ';
    if ((count += 1) > MAX_NAMES) return `{${fields}…}`;
    fields += `${withoutValues(name)}: ${describeFields(value[name], depth + 1)}`;
  }
  return `{${fields}}`;
}

export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as unknown;
  return (prototype === Object.prototype || prototype === null) && !('_bsontype' in value);
}

/** An id is a class of its own, around the bytes that make it. */
function withBytesOfIds(filter: Record<string, unknown>): unknown {
  return Object.fromEntries(
    Object.entries(filter).map(([name, value]) => [name, isId(value) ? value.id : value]),
  );
}

function isId(value: unknown): value is { readonly id: unknown } {
  return (
    typeof value === 'object' && value !== null && (value as { _bsontype?: unknown })._bsontype === 'ObjectId'
  );
}
