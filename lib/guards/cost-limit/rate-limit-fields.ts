import type { CostLimitPlan } from './cost-limit-policy';
import { publicKey } from '../caller/bounded-key';

// draft-ietf-httpapi-ratelimit-headers-11, of May 2026. An integer of RFC 9651 has at most 15 digits.
const MAX_INTEGER = 999_999_999_999_999;
/** None of the registered units (`qu`) is a point; a parameter of a vendor has its prefix. */
const UNIT = 'nac-unit="points"';

/** What the answers of a limited handler say of one policy: an item of `RateLimit-Policy`, and one of `RateLimit`. */
export interface RateLimitItems {
  readonly policy: string;
  readonly limit: string;
}

/** The response of `node:http`, or one like it. */
interface RawResponse {
  readonly headersSent: boolean;
  getHeader?(name: string): unknown;
  setHeader?(name: string, value: string): unknown;
}

/**
 * @param level points that are left; debt is said to be nothing
 * @param seconds until a request that was refused has a chance; without, for how long what is left would last at
 * the pace at which it is restored, so that a client that divides them goes no faster: section 8.5
 */
export function rateLimitItems(
  name: string,
  key: string,
  { burst, restorePerSecond }: CostLimitPlan,
  level: number,
  seconds?: number,
): RateLimitItems {
  const item = quoted(name);
  const rest = `pk=:${publicKey(key)}:;${UNIT}`;
  const left = Math.max(0, Math.floor(level));
  const window = seconds ?? secondsFor(left > 0 ? left : 1 - level, restorePerSecond);
  return {
    policy: `${item};q=${integer(burst)};w=${secondsFor(burst, restorePerSecond)};${rest}`,
    limit: `${item};r=${integer(left)};t=${window};${rest}`,
  };
}

/** How long it takes to restore points, in whole seconds, at least 1. */
export function secondsFor(points: number, restorePerSecond: number): number {
  return Math.max(1, integer(Math.ceil(points / restorePerSecond)));
}

/** Not earlier than that, and not the same for all who were refused at once: up to a fifth later. */
export function retryAfter(seconds: number): number {
  return seconds + Math.floor(Math.random() * (1 + seconds / 5));
}

/** Says on a response what it has of both fields beside what others have said there; nothing once it is sent. */
export class RateLimitFields {
  readonly #response: RawResponse | undefined;
  readonly #items = new Map<string, RateLimitItems>();
  readonly #others: Record<string, string> = {};

  constructor(response: unknown) {
    this.#response = response as RawResponse | undefined;
    for (const name of ['ratelimit-policy', 'ratelimit']) {
      const known = this.#response?.getHeader?.(name);
      if (known !== undefined) this.#others[name] = `${String(known)}, `;
    }
  }

  set(policy: string, items: RateLimitItems): void {
    this.#items.set(policy, items);
    this.#write('ratelimit-policy', 'policy');
    this.#write('ratelimit', 'limit');
  }

  #write(name: string, part: keyof RateLimitItems): void {
    if (this.#response?.headersSent !== false) return;
    const own = Array.from(this.#items.values(), items => items[part]).join(', ');
    this.#response.setHeader?.(name, `${this.#others[name] ?? ''}${own}`);
  }
}

function integer(value: number): number {
  return Math.min(MAX_INTEGER, Math.floor(value));
}

/** A string of RFC 9651. */
function quoted(text: string): string {
  return `"${text.replace(/[^ -~]/g, '?').replace(/["\\]/g, '\\$&')}"`;
}
