/** How a carrier has come. */
export type CarrierWay = 'http' | 'messages' | 'jobs';

/** For how long, and for whom, what is signed is believed. */
export interface CarrierTerm {
  /** Milliseconds, by the way that it has come; 0 for any age. */
  readonly maxAgeMs: Readonly<Record<CarrierWay, number>>;
  /** Whether one without a time is believed: it was signed by an older version of this package. */
  readonly takesUntimed: boolean;
  /** The first is signed for, all are accepted; `undefined` for whoever has the secret. */
  readonly audiences: readonly [string, ...string[]] | undefined;
}

/**
 * To the minute: carriers of one unit of work are alike, which saves a message that is sent a scope of its own.
 * Each storage in use is paid by every `await` on Node 20 and 22.
 */
const PRECISION_MS = 60_000;
/** As far as the clocks of two machines may be apart. */
const CLOCK_SKEW_MS = 60_000;

/** The members that a signed text begins with, as JSON without braces. */
export function signedTerm({ audiences }: CarrierTerm, now: number): string[] {
  const [audience = ''] = audiences ?? [];
  return [
    `"at":${now - (now % PRECISION_MS)}`,
    ...(audience === '' ? [] : [`"for":${JSON.stringify(audience)}`]),
  ];
}

/** What is signed, without its time. */
export function withoutTime(text: string): string {
  return text.replace(/^\{"at":\d+,/, '{');
}

/** Why what is signed is not believed, if it is not. */
export function refusalOf(
  { at, for: audience = '' }: { readonly at?: unknown; readonly for?: unknown },
  { maxAgeMs, takesUntimed, audiences }: CarrierTerm,
  way: CarrierWay,
  now: number,
): string | undefined {
  if (audiences !== undefined && !audiences.some(accepted => accepted === audience)) {
    return 'it was signed for another audience, so its user and values were ignored';
  }
  if (typeof at !== 'number') {
    return takesUntimed
      ? undefined
      : 'it was signed without a timestamp, so its user and values were ignored';
  }
  const most = maxAgeMs[way];
  if (most > 0 && now - at > most + CLOCK_SKEW_MS + PRECISION_MS)
    return 'it is too old, so its user and values were ignored';
  if (at - now > CLOCK_SKEW_MS) return 'its timestamp is in the future, so its user and values were ignored';
  return undefined;
}
