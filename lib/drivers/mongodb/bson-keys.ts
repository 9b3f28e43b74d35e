import { withoutValues } from '../../sql/value-like';

// Reads of BSON what may be a key, and passes over the rest: https://bsonspec.org/spec.html

export const DOCUMENT = 3;
export const LIST = 4;

const DOUBLE = 1;
const STRING = 2;
const BINARY = 5;
const OBJECT_ID = 7;
const DATE = 9;
const REGEXP = 11;
const POINTER = 12;
const SCOPED_CODE = 15;
const INT = 16;
const LONG = 18;
const END = 0;

/** Of types whose values are always as long. */
const LENGTHS: Readonly<Record<number, number>> = {
  [DOUBLE]: 8,
  6: 0,
  [OBJECT_ID]: 12,
  8: 1,
  [DATE]: 8,
  10: 0,
  [INT]: 4,
  17: 8,
  [LONG]: 8,
  19: 16,
  127: 0,
  255: 0,
};
/** Longer texts and binaries are no keys. */
const MAX_TEXT = 512;
const MAX_BINARY = 16;
const MAX_DEPTH = 4;
const MAX_VALUES = 64;

/** An element of a document or of a list; what begins at `at` is its value. Whether to go on. */
type Visit = (type: number, name: string, at: number) => boolean;

/** A name that has been read, and where it stands. */
interface KnownName {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}

/** Reads the bytes of one answer, whose documents mostly have the same fields in the same order. */
export class BsonKeys {
  readonly #bytes: Buffer;
  readonly #names: (KnownName | undefined)[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Visits the elements of the document, or of the list, that begins there. */
  visit(start: number, visit: Visit): void {
    const bytes = this.#bytes;
    const end = start + bytes.readInt32LE(start) - 1;
    let at = start + 4;
    for (let i = 0; at < end; i++) {
      const type = bytes[at] as number;
      if (type === END) return;
      const known = this.#nameAt(at + 1, i);
      const value = at + 2 + known.length;
      if (!visit(type, known.name, value)) return;
      const length = lengthOf(bytes, type, value);
      if (length === undefined || length < 0) return;
      at = value + length;
    }
  }

  /** Where the value of one element begins. */
  find(start: number, type: number, name: string): number | undefined {
    let found: number | undefined;
    this.visit(start, (ofType, called, at) => {
      if (ofType === type && called === name) found = at;
      return found === undefined;
    });
    return found;
  }

  /** What a value is compared by; `undefined` for one that is no key and holds none. */
  value(type: number, at: number, depth = 0): unknown {
    const bytes = this.#bytes;
    switch (type) {
      case DOUBLE:
        return bytes.readDoubleLE(at);
      case INT:
        return bytes.readInt32LE(at);
      case LONG:
        return bytes.readBigInt64LE(at);
      case DATE:
        return new Date(Number(bytes.readBigInt64LE(at)));
      case OBJECT_ID:
        return bytes.toString('hex', at, at + 12);
      case STRING: {
        const length = bytes.readInt32LE(at);
        return length > MAX_TEXT ? undefined : bytes.toString('utf8', at + 4, at + 3 + length);
      }
      case BINARY: {
        const length = bytes.readInt32LE(at);
        // A piece would keep all of them.
        return length > MAX_BINARY ? undefined : new Uint8Array(bytes.subarray(at + 5, at + 5 + length));
      }
      case DOCUMENT:
      case LIST:
        return depth === MAX_DEPTH ? undefined : this.#nested(type, at, depth + 1);
      default:
        return undefined;
    }
  }

  #nested(of: number, start: number, depth: number): unknown {
    const list: unknown[] = [];
    const document: Record<string, unknown> = {};
    let values = 0;
    this.visit(start, (type, name, at) => {
      const value = this.value(type, at, depth);
      if (value === undefined) return true;
      if (of === LIST) list.push(value);
      else if (name !== '__proto__' && withoutValues(name) === name) document[name] = value;
      return (values += 1) < MAX_VALUES;
    });
    return of === LIST ? list : document;
  }

  /** The name that begins there, of the i-th element: to read a text takes longer than to compare it. */
  #nameAt(start: number, i: number): KnownName {
    const known = this.#names[i];
    if (known !== undefined && this.#isAt(known, start)) return known;
    const end = this.#bytes.indexOf(END, start);
    if (end < 0) throw new RangeError('a name without an end');
    const name = { name: this.#bytes.toString('utf8', start, end), start, length: end - start };
    if (i < MAX_VALUES) this.#names[i] = name;
    return name;
  }

  #isAt({ start, length }: KnownName, at: number): boolean {
    const bytes = this.#bytes;
    if (bytes[at + length] !== END) return false;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== bytes[at + i]) return false;
    return true;
  }
}

function lengthOf(bytes: Buffer, type: number, at: number): number | undefined {
  const length = LENGTHS[type];
  if (length !== undefined) return length;
  switch (type) {
    case DOCUMENT:
    case LIST:
    case SCOPED_CODE:
      return bytes.readInt32LE(at);
    case BINARY:
      return bytes.readInt32LE(at) + 5;
    case POINTER:
      return bytes.readInt32LE(at) + 16;
    case REGEXP:
      return bytes.indexOf(END, bytes.indexOf(END, at) + 1) + 1 - at;
    // Texts, code and symbols.
    case STRING:
    case 13:
    case 14:
      return bytes.readInt32LE(at) + 4;
    default:
      return undefined;
  }
}
