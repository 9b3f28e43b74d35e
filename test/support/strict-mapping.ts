/** What dynamic mapping makes of a field at first sight. */
export type MappedType = 'object' | 'text' | 'date' | 'long' | 'float' | 'boolean';

/** `index.mapping.total_fields.limit`: objects count as well as values, and so does `message.keyword`. */
const MAX_FIELDS = 1_000;

/** `strict_date_optional_time` and `yyyy/MM/dd HH:mm:ss Z||yyyy/MM/dd Z`; digits alone are never taken for a date. */
const ISO_DATE =
  /^\d{4}-\d{2}(?:-\d{2}(?:T\d{2}(?::\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d{2}:?\d{2})?)?)?$/;
const SLASHED_DATE = /^\d{4}\/\d{2}\/\d{2} (?:\d{2}:\d{2}:\d{2} )?(?:Z|[+-]\d{4})$/;

const MAX_FLOAT = 3.402_823_466e38;
const MAX_LONG = 2 ** 63;

/**
 * One index of Elasticsearch with its default settings, as far as it decides whether a document is accepted: each
 * field gets its type from the first document that has it, and a later document of another kind is refused.
 *
 * - types at first sight, and dates: https://www.elastic.co/docs/manage-data/data-store/mapping/dynamic-field-mapping
 * - `a.b` is the field `b` of the object `a`: https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/subobjects
 * - `"5"` is accepted by a number, and 4.5 cut to 4 in a `long`: https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/coerce
 * - how many fields: https://www.elastic.co/docs/reference/elasticsearch/index-settings/mapping-limit
 */
export class StrictMapping {
  /** The type of each path. */
  readonly types = new Map<string, MappedType>();
  /** Paths of a `long` that has cut a fraction: accepted, but a sum over them is wrong. */
  readonly truncated = new Set<string>();
  documents = 0;

  /** Accepts the document, or throws with the path and both types, and keeps nothing of it. */
  add(document: object): void {
    const seen = new Map<string, MappedType>();
    this.#addObject('', document, seen);
    const total = fieldsOf(this.types) + fieldsOf(seen);
    if (total > MAX_FIELDS) throw new Error(`Limit of total fields [${MAX_FIELDS}] has been exceeded`);
    for (const [path, type] of seen) this.types.set(path, type);
    this.documents += 1;
  }

  #addObject(path: string, given: object, seen: Map<string, MappedType>): void {
    for (const [name, value] of Object.entries(given)) {
      const parts = name.split('.');
      if (parts.some(part => part.trim() === ''))
        throw new Error(`[${path}${name}] has a part without a name`);
      let parent = path;
      for (const part of parts.slice(0, -1)) {
        this.#expect(`${parent}${part}`, 'object', seen, name);
        parent += `${part}.`;
      }
      this.#addValue(`${parent}${parts.at(-1)}`, value, seen);
    }
  }

  #addValue(path: string, value: unknown, seen: Map<string, MappedType>): void {
    if (value === null || value === undefined) return;
    if (Array.isArray(value)) {
      for (const element of value) this.#addValue(path, element, seen);
      return;
    }
    if (typeof value !== 'object') {
      this.#expect(path, typeOf(value), seen, value);
      return;
    }
    this.#expect(path, 'object', seen, value);
    this.#addObject(`${path}.`, value, seen);
  }

  #expect(path: string, type: MappedType, seen: Map<string, MappedType>, value: unknown): void {
    const mapped = this.types.get(path) ?? seen.get(path);
    if (mapped === undefined) seen.set(path, type);
    if (!isAccepted(mapped ?? type, type, value))
      throw new Error(
        `[${path}] is mapped as ${mapped ?? type}, and refuses ${type} ${JSON.stringify(value)}`,
      );
    if (mapped === 'long' && !Number.isInteger(Number(value))) this.truncated.add(path);
  }
}

function typeOf(value: unknown): MappedType {
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value === 'number') return Number.isInteger(value) ? 'long' : 'float';
  return isDate(String(value)) ? 'date' : 'text';
}

function isDate(text: string): boolean {
  return (ISO_DATE.test(text) || SLASHED_DATE.test(text)) && !Number.isNaN(Date.parse(text.slice(0, 10)));
}

/** Whether a field of the first type accepts a value of the second. */
function isAccepted(mapped: MappedType, type: MappedType, value: unknown): boolean {
  switch (mapped) {
    case 'object':
      return type === 'object';
    case 'text':
      return type !== 'object';
    case 'date':
      return type === 'date';
    case 'boolean':
      return type === 'boolean' || value === 'true' || value === 'false' || value === '';
    case 'long':
      return isNumber(type, value) && Math.abs(Number(value)) < MAX_LONG;
    case 'float':
      return isNumber(type, value) && Math.abs(Number(value)) <= MAX_FLOAT;
  }
}

function isNumber(type: MappedType, value: unknown): boolean {
  if (type === 'long' || type === 'float') return true;
  return type === 'text' && String(value).trim() !== '' && Number.isFinite(Number(value));
}

/** A text has a `keyword` beside it, which counts. */
function fieldsOf(types: ReadonlyMap<string, MappedType>): number {
  return [...types.values()].reduce((sum, type) => sum + (type === 'text' ? 2 : 1), 0);
}
