/** What stands for all names that found no room. */
export const OTHER = 'other';
/** A name can be text of the application's own: `contextService.run({ handler })`. */
const MAX_CHARACTERS = 200;
/** Control characters, and what ends a line for some; the formats of metrics escape newlines alone. */
const NO_LABEL = /[\p{Cc}\p{Cs}\u2028\u2029]/gu;

/**
 * Lets the first so many names through, as one line of printable text; each later one is `other`.
 *
 * Each distinct value of a label is a series that a metrics server keeps for good.
 */
export class BoundedNames {
  readonly #labels = new Map<string, string>();
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  of(name: string): string {
    const short = name.length > MAX_CHARACTERS ? name.slice(0, MAX_CHARACTERS) : name;
    const known = this.#labels.get(short);
    if (known !== undefined) return known;
    if (this.#labels.size >= this.#capacity) return OTHER;
    const label = short.replace(NO_LABEL, '\ufffd');
    this.#labels.set(short, label);
    return label;
  }
}
