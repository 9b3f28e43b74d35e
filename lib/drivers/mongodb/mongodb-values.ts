import type { GivenValues, ReadsValues } from '../../cost/evidence/operation-values';
import { isPlain as isPlainData, ownValue } from '../../cost/evidence/nested-values';
import { RecentMap } from '../../kernel/recent-map';
import { withoutValues } from '../../sql/value-like';
import { type Command, isPlain, nameOf } from './mongodb-operation';

const MAX_FIELDS = 32;
const MAX_DEPTH = 4;
const MAX_VALUES = 64;

/** By name: the same collection of another database is another one. */
const databases = new RecentMap<object>(1_000);

/** What the fields of a command are compared with; `undefined` for one that is asked for nothing by a value. */
export function valuesOf(command: Command, database: unknown): GivenValues | undefined {
  const read = READERS.get(nameOf(command));
  if (read === undefined) return undefined;
  const [given, reads] = read(command);
  return { given, read: reads, target: targetOf(database) };
}

/** What a document, or a value of a filter, is compared by: the classes of BSON are values, too. */
export function comparable(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const type = (value as { _bsontype?: unknown })._bsontype;
  if (typeof type === 'string') return valueOfClass(type, value as Instance);
  if (depth === MAX_DEPTH) return undefined;
  if (Array.isArray(value)) return value.slice(0, MAX_VALUES).map(item => comparable(item, depth + 1));
  if (!isPlainData(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const name of Object.keys(value).slice(0, MAX_VALUES)) {
    // A key that is made of data is no name that may be told.
    if (name !== '__proto__' && withoutValues(name) === name)
      copy[name] = comparable(ownValue(value, name), depth + 1);
  }
  return copy;
}

type Reading = readonly [given: unknown, read: ReadsValues];

const ofFilter = (name: string) => (command: Command) => [command[name], readFilter] as const;

const READERS: ReadonlyMap<string, (command: Command) => Reading> = new Map<
  string,
  (command: Command) => Reading
>([
  ['find', ofFilter('filter')],
  ['count', ofFilter('query')],
  ['distinct', ofFilter('query')],
  ['findAndModify', ofFilter('query')],
  ['aggregate', ({ pipeline }) => [pipeline, readPipeline]],
  ['insert', ({ documents }) => ofList(documents, readDocument)],
  ['update', ({ updates }) => ofList(updates, readChange)],
  ['delete', ({ deletes }) => ofList(deletes, readChange)],
  // Its documents are asked for by the cursor, not by a value.
  ['getMore', () => [undefined, readNothing]],
]);

/** Of several, none is kept. */
function ofList(list: unknown, read: ReadsValues): Reading {
  const items = Array.isArray(list) ? list : (list as { documents?: unknown } | undefined)?.documents;
  const isOne = Array.isArray(items) && items.length === 1;
  return isOne ? [items[0], read] : [undefined, readSeveral];
}

const readSeveral: ReadsValues = () => undefined;
const readNothing: ReadsValues = () => ({});

const readFilter: ReadsValues = filter => {
  const values = newValues();
  return addFields(values, filter, 0) ? values : undefined;
};

/** What it begins with: further on, a field may be what a stage has made. */
const readPipeline: ReadsValues = pipeline => {
  const values = newValues();
  for (const stage of Array.isArray(pipeline) ? (pipeline as unknown[]) : []) {
    const match = isPlain(stage) ? ownValue(stage, '$match') : undefined;
    if (match === undefined) break;
    if (!addFields(values, match, 0)) return undefined;
  }
  return values;
};

const readChange: ReadsValues = change => readFilter((change as { q?: unknown }).q);

const readDocument: ReadsValues = document => {
  const values = newValues();
  if (!isPlain(document)) return values;
  for (const name of Object.keys(document).slice(0, MAX_FIELDS)) {
    values[name] = comparable(ownValue(document, name));
  }
  return values;
};

/** Adds what fields are compared with; whether that is one value each. */
function addFields(values: Record<string, unknown>, filter: unknown, depth: number): boolean {
  if (!isPlain(filter) || depth > MAX_DEPTH) return true;
  for (const name of Object.keys(filter).slice(0, MAX_FIELDS)) {
    const value = ownValue(filter, name);
    const isOne =
      name === '$and' || name === '$or'
        ? addAll(values, value, name === '$or', depth + 1)
        : name.startsWith('$') || addField(values, name, value, depth);
    if (!isOne) return false;
  }
  return true;
}

function addAll(values: Record<string, unknown>, parts: unknown, isAny: boolean, depth: number): boolean {
  if (!Array.isArray(parts)) return true;
  const alternatives = new Set<string>();
  for (const part of (parts as unknown[]).slice(0, MAX_FIELDS)) {
    const own = newValues();
    if (!addFields(own, part, depth)) return false;
    for (const name of Object.keys(own)) {
      // `{$or: [{_id: 1}, {_id: 2}]}`
      if (isAny && alternatives.has(name)) return false;
      alternatives.add(name);
      values[name] ??= own[name];
    }
  }
  return true;
}

/** `{buyerId: v}`, `{buyerId: {$eq: v}}`, `{buyerId: {$in: [v]}}`; two and more values are a batch. */
function addField(values: Record<string, unknown>, name: string, value: unknown, depth: number): boolean {
  if (!isPlain(value) || !nameOf(value).startsWith('$')) {
    if (!Array.isArray(value)) values[name] ??= comparable(value);
    return true;
  }
  const { $eq, $in, $all = $in, $elemMatch } = ownValues(value);
  if ($eq !== undefined) values[name] ??= comparable($eq);
  if (Array.isArray($all)) {
    if ($all.length > 1) return false;
    if ($all.length === 1) values[name] ??= comparable($all[0]);
  }
  return addFields(values, $elemMatch, depth + 1);
}

function ownValues(object: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.keys(object).map(name => [name, ownValue(object, name)]));
}

function newValues(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

function targetOf(database: unknown): object | undefined {
  if (typeof database !== 'string') return undefined;
  let target = databases.get(database);
  if (target === undefined) databases.set(database, (target = {}));
  return target;
}

/** Of a class of BSON, as far as it has a value that may be a key. */
interface Instance {
  readonly id?: unknown;
  readonly buffer?: unknown;
  readonly position?: unknown;
  readonly value?: unknown;
  toString(): string;
}

function valueOfClass(type: string, instance: Instance): unknown {
  switch (type) {
    case 'ObjectId':
      return instance.id;
    case 'Binary': {
      const { buffer, position } = instance;
      return buffer instanceof Uint8Array && typeof position === 'number'
        ? buffer.subarray(0, position)
        : undefined;
    }
    case 'Long':
    case 'Decimal128':
      return instance.toString();
    case 'Int32':
    case 'Double':
      return instance.value;
    default:
      return undefined;
  }
}
