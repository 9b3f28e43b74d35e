/**
 * How the calls of one driver were charged since the process started.
 *
 * @example
 * expect(context.attribution.drivers.pg?.lost).toBe(0);
 */
export interface DriverAttribution {
  /** Charged to the unit of work that made them. */
  readonly charged: number;
  /** Made by a unit of work that was closed already. */
  readonly late: number;
  /** Made while an application was serving, outside of any unit of work. */
  readonly lost: number;
}

/** How the calls of all drivers were charged since the process started. */
export interface Attribution extends DriverAttribution {
  /** By name of the driver's package. */
  readonly drivers: Readonly<Record<string, DriverAttribution>>;
}

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
