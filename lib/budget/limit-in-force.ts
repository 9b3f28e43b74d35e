import type { ResolvedLimit } from '../cost/resolved-limit';

/** The limit that is in force now: an exemption counts until its end. */
export function limitInForce(limit: ResolvedLimit, now: number): ResolvedLimit | undefined {
  const { exemption } = limit;
  return exemption !== undefined && now >= exemption.endsAt ? exemption.after : limit;
}
