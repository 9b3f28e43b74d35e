import { randomUUID } from 'node:crypto';
import { OwnError } from '../kernel/own-error';
import { isThenable } from '../kernel/thenable';

/** Where the id of a request comes from, and how it is returned. */
export interface RequestIdOptions {
  /**
   * Header in which a trusted caller sends its id.
   * @default 'x-request-id'
   */
  readonly header: string;
  /**
   * Whether the id of an incoming request is accepted: never, always, or if the function returns true.
   * @default false
   */
  readonly trust: boolean | ((request: unknown) => boolean);
  /**
   * Creates an id of 1 to 200 characters from `A-Z a-z 0-9 _ . : = + / @ -`.
   * @default crypto.randomUUID
   */
  readonly generate?: (() => string) | undefined;
  /**
   * Response header that returns the id; `false` disables it.
   * @default 'x-request-id'
   */
  readonly responseHeader: string | false;
}

/** Asks a function of the application, and reports what it throws. */
interface Asks {
  ask<T>(where: string, hook: () => T): T | undefined;
}

/** What an incoming request id must look like: nothing that a log, a header or a shell could mistake. */
const ACCEPTED = /^[A-Za-z0-9][A-Za-z0-9_.:=+/@-]{0,199}$/;

/** Whether a value may be used as a request id: 1 to 200 characters of a fixed set. */
export function isRequestId(value: unknown): value is string {
  return typeof value === 'string' && ACCEPTED.test(value);
}

/** The part of a raw request that is needed here. */
export interface RawRequest {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly rawHeaders?: readonly string[];
}

/** Takes over the id of a trusted caller, else makes one. */
export class RequestIdSource {
  readonly #header: string;
  readonly #trust: RequestIdOptions['trust'];
  readonly #generate: (() => string) | undefined;
  readonly #hookErrors: Asks;

  constructor(options: RequestIdOptions, hookErrors: Asks) {
    this.#header = options.header.toLowerCase();
    this.#trust = options.trust;
    this.#generate = options.generate;
    this.#hookErrors = hookErrors;
  }

  /** The id of a request; `request` is what the application's `trust` function is asked about. */
  of(raw: RawRequest, request: unknown): string {
    if (this.#trust === false) return this.next();
    const incoming = raw.headers[this.#header];
    if (isRequestId(incoming) && this.#isTrusted(request) && this.#isSingle(raw)) return incoming;
    return this.next();
  }

  /** A new id. */
  next(): string {
    const generate = this.#generate;
    if (generate === undefined) return randomUUID();
    const id: unknown = this.#hookErrors.ask('requestId.generate', () => {
      const made: unknown = generate();
      if (isRequestId(made) || isThenable(made)) return made;
      throw new OwnError('it did not return 1 to 200 characters of A-Z a-z 0-9 _ . : = + / @ -');
    });
    return isRequestId(id) ? id : randomUUID();
  }

  #isTrusted(request: unknown): boolean {
    const trust = this.#trust;
    if (typeof trust !== 'function') return trust;
    return this.#hookErrors.ask('requestId.trust', () => trust(request)) === true;
  }

  // Node joins duplicates with ', ' (which the pattern rejects) for most headers, but keeps only
  // the first of some, so a configured header such as `authorization` needs a look at the raw list.
  #isSingle(raw: RawRequest): boolean {
    const list = raw.rawHeaders;
    if (list === undefined) return true;
    let seen = 0;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i]?.toLowerCase() === this.#header) seen += 1;
    }
    return seen <= 1;
  }
}
