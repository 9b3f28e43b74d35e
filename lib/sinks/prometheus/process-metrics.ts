import { Counter, Gauge, type Registry } from 'prom-client';
import type { AttachedApplications } from '../attached-applications';

const MS_PER_SECOND = 1_000;

/** Registers what is asked of the process when somebody scrapes it. */
export function processMetrics(registry: Registry, prefix: string, applications: AttachedApplications): void {
  registry.registerMetric(
    new Counter({
      name: `${prefix}driver_calls_total`,
      help: 'Driver calls: charged to their unit of work, late (after it closed), or lost (outside of any unit of work).',
      labelNames: ['driver', 'charge'],
      registers: [],
      collect() {
        this.reset();
        for (const [driver, figures] of Object.entries(applications.any?.attribution.drivers ?? {})) {
          this.inc({ driver, charge: 'charged' }, figures.charged);
          this.inc({ driver, charge: 'late' }, figures.late);
          this.inc({ driver, charge: 'lost' }, figures.lost);
        }
      },
    }),
  );
  registry.registerMetric(
    new Counter({
      name: `${prefix}sink_records_total`,
      help: 'Cost records by sink and result.',
      labelNames: ['sink', 'result'],
      registers: [],
      collect() {
        this.reset();
        for (const { sinkStats = [] } of applications) {
          for (const { sink, produced, delivered, dropped } of sinkStats) {
            this.inc({ sink, result: 'produced' }, produced);
            this.inc({ sink, result: 'delivered' }, delivered);
            this.inc({ sink, result: 'dropped' }, dropped);
          }
        }
      },
    }),
  );
  registry.registerMetric(
    new Counter({
      name: `${prefix}guard_refusals_total`,
      help: 'Units of work refused by a guard, or that would have been refused in a dry run.',
      labelNames: ['guard', 'reason', 'handler', 'dry_run'],
      registers: [],
      collect() {
        this.reset();
        for (const { refusals = [] } of applications) {
          for (const { by, reason, handler, dryRun, count } of refusals) {
            this.inc({ guard: by, reason, handler, dry_run: String(dryRun) }, count);
          }
        }
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: `${prefix}overload_shed_share`,
      help: 'Share of arriving requests that are shed, or would be shed in a dry run.',
      aggregator: 'max',
      registers: [],
      collect() {
        this.reset();
        const { shedShare } = applications;
        if (shedShare !== undefined) this.set(shedShare);
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: `${prefix}sink_queued_records`,
      help: 'Cost records that are queued or being written.',
      labelNames: ['sink'],
      registers: [],
      collect() {
        this.reset();
        for (const { sinkStats = [] } of applications) {
          for (const { sink, queued } of sinkStats) this.inc({ sink }, queued);
        }
      },
    }),
  );
  registry.registerMetric(
    new Gauge({
      name: `${prefix}event_loop_delay_seconds`,
      help: 'Event loop delay since the application started to serve.',
      labelNames: ['stat'],
      aggregator: 'max',
      registers: [],
      collect() {
        this.reset();
        const delay = applications.any?.eventLoopDelay;
        if (delay === undefined) return;
        this.set({ stat: 'mean' }, delay.meanMs / MS_PER_SECOND);
        this.set({ stat: 'p50' }, delay.p50Ms / MS_PER_SECOND);
        this.set({ stat: 'p99' }, delay.p99Ms / MS_PER_SECOND);
        this.set({ stat: 'max' }, delay.maxMs / MS_PER_SECOND);
      },
    }),
  );
}
