/** What stands for all names that found no room. */
export const OTHER = 'other';
/** A name can be text of the application's own: `contextService.run({ handler })`. */
const MAX_CHARACTERS = 200;

/**
 * Lets the first so many names through; each later one is `other`.
 *
 * Each distinct value of a label is a series that a metrics server keeps for good.
 */
export class BoundedNames {
  readonly #names = new Set<string>();
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  of(name: string): string {
    const short = name.length > MAX_CHARACTERS ? name.slice(0, MAX_CHARACTERS) : name;
    if (this.#names.has(short)) return short;
    if (this.#names.size >= this.#capacity) return OTHER;
    this.#names.add(short);
    return short;
  }
}
