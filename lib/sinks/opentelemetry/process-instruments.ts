import type { Meter, ObservableResult } from '@opentelemetry/api';
import type { RefusalCount } from '../../record/process-figures';
import type { AttachedApplications } from '../attached-applications';
import { FUNCTION_NAME } from './attribute-names';

const DRIVER = 'nestjs.driver.name';
const CHARGE = 'nestjs.driver.charge';
const SINK = 'nestjs.sink.name';
const GUARD = 'nestjs.guard.name';
const REASON = 'nestjs.guard.reason';
const DRY_RUN = 'nestjs.guard.dry_run';
const RESULT = 'nestjs.sink.result';

interface Figures {
  produced: number;
  delivered: number;
  dropped: number;
  queued: number;
}

/** Makes what is asked of the process whenever metrics are collected. */
export function observeProcess(meter: Meter, applications: AttachedApplications): void {
  const observeCalls = (result: ObservableResult): void => {
    for (const [driver, figures] of Object.entries(applications.any?.attribution.drivers ?? {})) {
      result.observe(figures.charged, { [DRIVER]: driver, [CHARGE]: 'charged' });
      result.observe(figures.late, { [DRIVER]: driver, [CHARGE]: 'late' });
      result.observe(figures.lost, { [DRIVER]: driver, [CHARGE]: 'lost' });
    }
  };
  // The last of two observations with the same attributes would be the only one.
  const byName = (): Map<string, Figures> => {
    const sums = new Map<string, Figures>();
    for (const { sinkStats = [] } of applications) {
      for (const { sink, produced, delivered, dropped, queued } of sinkStats) {
        const sum = sums.get(sink) ?? { produced: 0, delivered: 0, dropped: 0, queued: 0 };
        sum.produced += produced;
        sum.delivered += delivered;
        sum.dropped += dropped;
        sum.queued += queued;
        sums.set(sink, sum);
      }
    }
    return sums;
  };
  const observeSinks = (result: ObservableResult): void => {
    for (const [sink, { produced, delivered, dropped }] of byName()) {
      result.observe(produced, { [SINK]: sink, [RESULT]: 'produced' });
      result.observe(delivered, { [SINK]: sink, [RESULT]: 'delivered' });
      result.observe(dropped, { [SINK]: sink, [RESULT]: 'dropped' });
    }
  };
  const observeRefusals = (result: ObservableResult): void => {
    const sums = new Map<string, RefusalCount>();
    for (const { refusals = [] } of applications) {
      for (const refusal of refusals) {
        const { by, reason, handler, dryRun, count } = refusal;
        const key = [by, reason, handler, dryRun].join('\n');
        sums.set(key, { ...refusal, count: count + (sums.get(key)?.count ?? 0) });
      }
    }
    for (const { by, reason, handler, dryRun, count } of sums.values()) {
      result.observe(count, { [GUARD]: by, [REASON]: reason, [FUNCTION_NAME]: handler, [DRY_RUN]: dryRun });
    }
  };
  const observeQueues = (result: ObservableResult): void => {
    for (const [sink, { queued }] of byName()) result.observe(queued, { [SINK]: sink });
  };
  const calls = meter.createObservableCounter('nestjs.driver.calls', {
    unit: '{call}',
    description:
      'Driver calls: charged to their unit of work, late (after it closed), or lost (outside of any unit of work).',
  });
  const records = meter.createObservableCounter('nestjs.sink.records', {
    unit: '{record}',
    description: 'Cost records by sink and result.',
  });
  const queued = meter.createObservableUpDownCounter('nestjs.sink.queued_records', {
    unit: '{record}',
    description: 'Cost records that are queued or being written.',
  });
  const refusals = meter.createObservableCounter('nestjs.guard.refusals', {
    unit: '{request}',
    description: 'Units of work refused by a guard, or that would have been refused in a dry run.',
  });
  const shedShare = meter.createObservableGauge('nestjs.overload.shed_share', {
    unit: '1',
    description: 'Share of arriving requests that are shed, or would be shed in a dry run.',
  });
  shedShare.addCallback(result => {
    const { shedShare: share } = applications;
    if (share !== undefined) result.observe(share);
  });
  refusals.addCallback(observeRefusals);
  calls.addCallback(observeCalls);
  records.addCallback(observeSinks);
  queued.addCallback(observeQueues);
}
