interface Window {
  endsAt: number;
  heldBack: number;
}

/** Lets the same thing be said once in a while, and counts how often it was not. Bounded by keys. */
export class OncePerWindow {
  readonly #windowMs: number;
  readonly #maxKeys: number;
  readonly #windows = new Map<string, Window>();

  constructor(windowMs: number, maxKeys = 1_000) {
    this.#windowMs = windowMs;
    this.#maxKeys = maxKeys;
  }

  /** How often the key was held back since it was last admitted; `undefined` when it is held back now. */
  admit(key: string): number | undefined {
    const now = Date.now();
    const window = this.#windows.get(key);
    if (window !== undefined && now < window.endsAt) {
      window.heldBack += 1;
      return undefined;
    }
    this.#windows.delete(key);
    if (this.#windows.size >= this.#maxKeys) this.#forgetOldest();
    this.#windows.set(key, { endsAt: now + this.#windowMs, heldBack: 0 });
    return window?.heldBack ?? 0;
  }

  #forgetOldest(): void {
    const [oldest] = this.#windows.keys();
    if (oldest !== undefined) this.#windows.delete(oldest);
  }
}
