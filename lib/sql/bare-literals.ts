// Literals that are written like names, by the words and marks before them.

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![\w$-])/iy;
const UUID_LENGTH = 36;
const FIRST_DASH = 8;
const BY = /\s+by\b/iy;

/** Where the UUID ends that begins here (`WHERE id = 550e8400-e29b-…` of Cassandra), if one does. */
export function endOfUuid(text: string, start: number): number | undefined {
  if (text.charCodeAt(start + FIRST_DASH) !== 45) return undefined;
  UUID.lastIndex = start;
  return UUID.test(text) ? start + UUID_LENGTH : undefined;
}

/** Whether a password follows a word, as in `IDENTIFIED BY tiger` of Oracle. */
export function isBeforePassword(text: string, start: number, end: number): boolean {
  if (!isWord(text, start, end, 'IDENTIFIED')) return false;
  BY.lastIndex = end;
  return BY.test(text);
}

export function isWord(text: string, start: number, end: number, word: string): boolean {
  return end - start === word.length && text.slice(start, end).toUpperCase() === word;
}

const NONE = 0;
const NAME = 1;
const VALUE = 2;

/** The value in `SET app.key TO secret`, also of `ALTER ROLE` and `CREATE FUNCTION`; not in `UPDATE`. */
export class BareSetting {
  #at = NONE;

  reset(): void {
    this.#at = NONE;
  }

  /** Whether a word here is a value. */
  get isValue(): boolean {
    return this.#at === VALUE;
  }

  /** A `SET` below this verb. */
  set(verb: string): void {
    if (verb === 'SET' || verb === 'ALTER' || verb === 'CREATE') this.#at = NAME;
  }

  word(text: string, start: number, end: number): void {
    if (this.#at === NAME && isWord(text, start, end, 'TO')) this.#at = VALUE;
  }

  equals(): void {
    if (this.#at === NAME) this.#at = VALUE;
  }
}
