import { RecentMap } from '../../kernel/recent-map';

/** A column, and the table that it is of, as far as its statement says. */
export interface ColumnName {
  readonly table: string | undefined;
  readonly column: string;
}

/**
 * How well the name of a column fits that of the column its values may come from, the best first:
 *
 * - `strong`: `items.order_id` and `orders.id`; `projects.id` and `tasks.project_id`
 * - `same`: `buyer_id` and `buyer_id`
 * - `foreign`: one is the key of a table, the other a reference to nobody knows which (`author_id`)
 * - `namesake`: `status` and `status`
 * - `none`: nothing is known
 * - `conflict`: the keys of two tables, or a reference to a third one
 */
export type NameClass = 'strong' | 'same' | 'foreign' | 'namesake' | 'none' | 'conflict';

export const NAME_CLASSES: readonly NameClass[] = [
  'strong',
  'same',
  'foreign',
  'namesake',
  'none',
  'conflict',
];

/** What a table calls its own key. */
const OWN = new Set(['id', 'uuid', 'guid', 'pk', 'oid']);
/** How the name of a reference ends. */
const REFERENCE = new Set([...OWN, 'ids', 'uuids', 'fk', 'ref']);
/** A reference to the table that it stands in. */
const RELATIVES = new Set('parent root previous prev next ancestor reply manager original'.split(' '));
/** Words that a table has for its kind. */
const KINDS = new Set('table tbl entity view data list'.split(' '));
const IRREGULAR: Readonly<Record<string, string>> = {
  people: 'person',
  children: 'child',
  men: 'man',
  women: 'woman',
  indices: 'index',
  data: 'data',
};
const NUMBER = /^\d+$/;
const PARTS = /\p{Lu}+(?!\p{Ll})|\p{Lu}?[\p{Ll}]+|\p{L}+|\d+/gu;
/** `orderid`, without anything between: a shorter one is a word (`paid`). */
const MIN_GLUED = 6;
/** Names that are remembered: to take one apart costs more than all else that is done with it. */
const MAX_NAMES = 4_096;

interface Described {
  readonly words: readonly string[];
  /** What the table is about, by its last word: `order_items` are items. */
  readonly entity: string | undefined;
  readonly isOwn: boolean;
  /** What it refers to: the last word before its ending. */
  readonly reference: string | undefined;
  readonly isRelative: boolean;
}

const tables = new RecentMap<readonly string[]>(MAX_NAMES);
const columns = new RecentMap<Described>(MAX_NAMES);

/**
 * How well two names fit.
 *
 * @param isKnown whether a table of this entity is known: a reference to it refers to no other
 */
export function classOf(
  place: ColumnName,
  source: ColumnName,
  isKnown: (entity: string) => boolean,
): NameClass {
  const to = describe(place);
  const from = describe(source);
  const isOfOneTable = isSame(to.entity, from.entity);
  if (to.isOwn && from.isOwn)
    return isOfOneTable && mayBeOne(place.table, source.table) ? 'strong' : unlike(to, from);
  if (to.reference !== undefined && from.isOwn) {
    if (isSame(to.reference, from.entity) || (isOfOneTable && to.isRelative)) return 'strong';
    return isKnown(to.reference) ? 'conflict' : 'foreign';
  }
  if (to.isOwn && from.reference !== undefined) {
    if (isSame(from.reference, to.entity) || (isOfOneTable && from.isRelative)) return 'strong';
    return isKnown(from.reference) ? 'conflict' : 'foreign';
  }
  if (areEqual(to.words, from.words)) return to.reference === undefined ? 'namesake' : 'same';
  // `prices.product_sku` and `products.sku`, either way; `"order" = orders.id`.
  if (isPrefixed(to.words, from) || isPrefixed(from.words, to)) return 'strong';
  if (to.reference !== undefined && isSame(to.reference, from.reference)) return 'foreign';
  return 'none';
}

/** Whether two are one column of one table. */
export function isSameColumn(a: ColumnName, b: ColumnName): boolean {
  return a.column === b.column && bareTable(a.table) === bareTable(b.table);
}

/** The name of a table without its schema. */
function bareTable(table: string | undefined): string | undefined {
  return table?.slice(table.lastIndexOf('.') + 1).toLowerCase();
}

/** Whether a name is that of a key, or of a reference to one. */
export function isKeyName(column: ColumnName): boolean {
  const { isOwn, reference } = describe(column);
  return isOwn || reference !== undefined;
}

/** Whether a name is that of a table's own key. */
export function isOwnKey(column: ColumnName): boolean {
  return describe(column).isOwn;
}

/** What a table is about: the last word of its name, in the singular. */
export function entityOf(table: string | undefined): string | undefined {
  return table === undefined ? undefined : wordsOfTable(table).at(-1);
}

/** The words of a table that say what it is about: `public.tbl_order_items_2024` as `tbl order item`. */
function wordsOfTable(table: string): readonly string[] {
  const known = tables.get(table);
  if (known !== undefined) return known;
  const words = readTable(table);
  tables.set(table, words);
  return words;
}

function readTable(table: string): string[] {
  const words = wordsOf(table.slice(table.lastIndexOf('.') + 1)).filter(word => !NUMBER.test(word));
  while (words.length > 1 && KINDS.has(words.at(-1) as string)) words.pop();
  return words;
}

/** Whether two tables of one entity may be one: `orders` and `shop_orders`; not `order_notes` and `user_notes`. */
function mayBeOne(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return true;
  const [one, other] = [wordsOfTable(a), wordsOfTable(b)];
  const shared = Math.min(one.length, other.length);
  return areSameWords(one.slice(-shared), other.slice(-shared));
}

function areSameWords(a: readonly string[], b: readonly string[]): boolean {
  return a.every((word, i) => isSame(word, b[i]));
}

/** Two own keys; of a table that is not known, nothing is. */
function unlike(to: Described, from: Described): NameClass {
  return to.entity === undefined || from.entity === undefined ? 'foreign' : 'conflict';
}

function describe({ table, column }: ColumnName): Described {
  // No name has this character.
  const name = `${table ?? ''}\0${column}`;
  const known = columns.get(name);
  if (known !== undefined) return known;
  const described = readColumn(table, column);
  columns.set(name, described);
  return described;
}

function readColumn(table: string | undefined, column: string): Described {
  const words = wordsOf(column);
  const entity = entityOf(table);
  const last = words.at(-1);
  if (words.length === 1 && last !== undefined && !OWN.has(last)) {
    const glued = last.length >= MIN_GLUED && last.endsWith('id') ? last.slice(0, -2) : undefined;
    // MongoDB and MikroORM name a reference as what it refers to.
    return { words, entity, isOwn: false, reference: glued && singular(glued), isRelative: false };
  }
  const isReference = last !== undefined && REFERENCE.has(last);
  const reference = isReference ? words.at(-2) : undefined;
  // `orders.order_id`
  const isOwn = isReference && (words.length === 1 || (words.length === 2 && isSame(reference, entity)));
  const isRelative = words.some(word => RELATIVES.has(word));
  return { words, entity, isOwn, reference: isOwn ? undefined : reference, isRelative };
}

function isPrefixed(words: readonly string[], { entity, words: own, isOwn }: Described): boolean {
  if (entity === undefined) return false;
  if (isOwn && words.length === 1) return isSame(words[0], entity);
  return words.length === own.length + 1 && isSame(words[0], entity) && areEqual(words.slice(1), own);
}

function areEqual(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((word, i) => word === b[i]);
}

/** Singulars are guessed, so `house` and `hous` are one. */
function isSame(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && (a === b || `${a}e` === b || a === `${b}e`);
}

function wordsOf(name: string): string[] {
  return (name.match(PARTS) ?? []).map(word => singular(word.toLowerCase()));
}

function singular(word: string): string {
  const irregular = IRREGULAR[word];
  if (irregular !== undefined) return irregular;
  if (word.length < 4 || !word.endsWith('s') || REFERENCE.has(word)) return word;
  if (word.endsWith('ies') && word.length > 4) return `${word.slice(0, -3)}y`;
  if (/(?:ss|x|z|ch|sh|us)es$/.test(word)) return word.slice(0, -2);
  return /(?:ss|us|is)$/.test(word) ? word : word.slice(0, -1);
}
