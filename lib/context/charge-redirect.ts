import { AsyncLocalStorage } from 'node:async_hooks';
import type { CostLedger } from '../cost/cost-ledger';
import { contextStorage } from './context-storage';
import { oncePerProcess } from '../kernel/once-per-process';

/** Where calls are charged in place of the unit of work that makes them; without a ledger, nowhere. */
export interface ChargeRedirect {
  readonly ledger: CostLedger | undefined;
  /** Whose calls: of the ledger of a unit of work, or of none. An older copy of the package does not say. */
  readonly of?: CostLedger | null;
}

interface Shared {
  readonly storage: AsyncLocalStorage<ChargeRedirect>;
  /** Until something is redirected, the storage is not read: a second `getStore()` costs 10 ns a query. */
  isUsed: boolean;
}

const shared = oncePerProcess<Shared>('charge redirect', () => ({
  storage: new AsyncLocalStorage(),
  isUsed: false,
}));

/**
 * The redirect that is in force for the current call, if there is one.
 *
 * A connection that is opened inside a redirect carries it, as it carries a context, to everybody who uses it later.
 * So a redirect applies only to the unit of work that it was made in.
 */
export function currentRedirect(): ChargeRedirect | undefined {
  if (!shared.isUsed) return undefined;
  const redirect = shared.storage.getStore();
  if (redirect?.of === undefined) return redirect;
  return redirect.of === currentWhole() ? redirect : undefined;
}

/** Charges what `fn` calls to a ledger of its own. */
export function runRedirected<T>(ledger: CostLedger, fn: () => T): T {
  shared.isUsed = true;
  return shared.storage.run({ ledger, of: currentWhole() }, fn);
}

/** Does not count what `fn` calls: it is part of a call that is counted already. */
export function runUncharged<T>(fn: () => T): T {
  shared.isUsed = true;
  return shared.storage.run({ ledger: undefined, of: currentWhole() }, fn);
}

/** Restores a redirect, or none, for a callback. */
export function runAgain<T>(redirect: ChargeRedirect | undefined, fn: () => T): T {
  return shared.isUsed ? shared.storage.run(redirect as ChargeRedirect, fn) : fn();
}

/** Identified by its ledger, because a closed part no longer knows what it was a part of. */
function currentWhole(): CostLedger | null {
  const cost = contextStorage.getStore()?.cost;
  // An older copy of the package has no parts.
  return cost === undefined ? null : (cost.whole ?? cost);
}
