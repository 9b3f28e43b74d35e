import { AsyncLocalStorage } from 'node:async_hooks';
import type { CostLedger } from '../cost/cost-ledger';
import { contextStorage } from './context-storage';
import { oncePerProcess } from '../kernel/once-per-process';

/** Where calls are charged in place of the unit of work that makes them; without a ledger, nowhere. */
export interface Aside {
  readonly ledger: CostLedger | undefined;
  /** Whose calls: of the ledger of a unit of work, or of none. An older copy of the package does not say. */
  readonly of?: CostLedger | null;
}

interface Shared {
  readonly storage: AsyncLocalStorage<Aside>;
  /** Until something is put aside, nobody asks: a second `getStore()` costs 10 ns a query. */
  isUsed: boolean;
}

const shared = oncePerProcess<Shared>('aside', () => ({ storage: new AsyncLocalStorage(), isUsed: false }));

/**
 * Where what is called now is put aside, if it is.
 *
 * A connection that is opened aside carries it, as it carries a context, to all that use it later. So one counts
 * for the unit of work alone that it was made in.
 */
export function currentAside(): Aside | undefined {
  if (!shared.isUsed) return undefined;
  const aside = shared.storage.getStore();
  if (aside?.of === undefined) return aside;
  return aside.of === currentWhole() ? aside : undefined;
}

/** Charges what `fn` calls to a ledger of its own. */
export function runAside<T>(ledger: CostLedger, fn: () => T): T {
  shared.isUsed = true;
  return shared.storage.run({ ledger, of: currentWhole() }, fn);
}

/** Charges what `fn` calls to nobody: it is part of a call that is counted already. */
export function runUncharged<T>(fn: () => T): T {
  shared.isUsed = true;
  return shared.storage.run({ ledger: undefined, of: currentWhole() }, fn);
}

/** Charges what `fn` calls to where it was put aside before, or to nowhere aside: for what is called back. */
export function runAgain<T>(aside: Aside | undefined, fn: () => T): T {
  return shared.isUsed ? shared.storage.run(aside as Aside, fn) : fn();
}

/** By its ledger, because a part that is closed no longer knows what it was a part of. */
function currentWhole(): CostLedger | null {
  const cost = contextStorage.getStore()?.cost;
  // An older copy of the package knows no parts.
  return cost === undefined ? null : (cost.whole ?? cost);
}
