import { createHash } from 'node:crypto';
import type { BreachRecord } from '../cost/cost-record';

/** Groups breaches of the same handler and dimensions; stable over processes and releases. */
export function fingerprintOf(handler: string, breaches: readonly BreachRecord[]): string {
  const dimensions = breaches.map(({ dimension }) => dimension).sort();
  return createHash('sha256')
    .update([handler, ...dimensions].join('\n'))
    .digest('hex')
    .slice(0, 16);
}
