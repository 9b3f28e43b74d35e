import { checkedValue } from '../context/checked-value';
import type { ContextSeed } from '../context/context.service';

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_VALUE` */
export function checkedSeed(seed: ContextSeed): ContextSeed {
  if (seed.values === undefined) return seed;
  const values = Array.from(seed.values, ([key, value]) => [key, checkedValue(key, value)] as const);
  return { ...seed, values };
}
