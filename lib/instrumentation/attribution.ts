import type { Attribution, DriverAttribution } from '../record/process-figures';

/** Running figures of one driver. */
export interface AttributionFigures {
  charged: number;
  late: number;
  lost: number;
}

/** The sum of the figures of all drivers, and each of them, as they are now. */
export function summarize(figures: ReadonlyMap<string, AttributionFigures>): Attribution {
  const sum = { charged: 0, late: 0, lost: 0 };
  const drivers: Record<string, DriverAttribution> = {};
  for (const [name, one] of figures) {
    drivers[name] = { ...one };
    sum.charged += one.charged;
    sum.late += one.late;
    sum.lost += one.lost;
  }
  return { ...sum, drivers };
}
