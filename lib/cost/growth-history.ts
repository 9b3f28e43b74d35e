import type { CostLedger, ShapeCost } from './cost-ledger';

/** What the units of work of one handler have shown about its shapes. */
export interface GrowthHistory {
  /** `fixed` when a shape does not grow; `undefined` when that is not known. */
  growthOf(shape: ShapeCost, cost: CostLedger): { parent: ShapeCost; slope: number } | 'fixed' | undefined;
  /** Where the handler makes a shape. */
  siteOf(shape: string): string | undefined;
}
