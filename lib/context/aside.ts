import { AsyncLocalStorage } from 'node:async_hooks';
import type { CostLedger } from '../cost/cost-ledger';
import { oncePerProcess } from './context-storage';

/** Where calls are charged in place of the unit of work that makes them; without a ledger, nowhere. */
export interface Aside {
  readonly ledger: CostLedger | undefined;
}

interface Shared {
  readonly storage: AsyncLocalStorage<Aside>;
  /** Until something is put aside, nobody asks: a second `getStore()` costs 10 ns a query. */
  isUsed: boolean;
}

const shared = oncePerProcess<Shared>('aside', () => ({ storage: new AsyncLocalStorage(), isUsed: false }));
const NOWHERE: Aside = Object.freeze({ ledger: undefined });

/** Where what is called now is put aside, if it is. */
export function currentAside(): Aside | undefined {
  return shared.isUsed ? shared.storage.getStore() : undefined;
}

/** Charges what `fn` calls to a ledger of its own. */
export function runAside<T>(ledger: CostLedger, fn: () => T): T {
  shared.isUsed = true;
  return shared.storage.run({ ledger }, fn);
}

/** Charges what `fn` calls to nobody: it is part of a call that is counted already. */
export function runUncharged<T>(fn: () => T): T {
  shared.isUsed = true;
  return shared.storage.run(NOWHERE, fn);
}

/** Charges what `fn` calls to where it was put aside before, or to nowhere aside: for what is called back. */
export function runAgain<T>(aside: Aside | undefined, fn: () => T): T {
  return shared.isUsed ? shared.storage.run(aside as Aside, fn) : fn();
}
