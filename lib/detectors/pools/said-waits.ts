import { oncePerProcess } from '../../kernel/once-per-process';
import type { ReportKind } from '../../reporting/reports';
import type { PoolWait } from '../../cost/pool-wait';

export const POOL_WAITS: ReportKind = {
  name: 'waits for a connection',
  one: 'wait for a connection',
  isError: false,
};

/** Deadlocks of pools: outages that do not end by themselves. */
export const DEADLOCKS: ReportKind = { name: 'pool deadlocks', one: 'pool deadlock', isError: true };

/** Waits that the log has already: it had to be told before their unit of work was over. */
export const saidWaits = oncePerProcess('waits.told', () => new WeakSet<PoolWait>());

/** Waits for a pool whose connections are all held, and not used, by those who wait for another one. */
export const deadlocks = oncePerProcess('waits.deadlocks', () => new WeakSet<PoolWait>());
