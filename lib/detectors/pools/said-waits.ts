import { oncePerProcess } from '../../kernel/once-per-process';
import type { ReportKind } from '../../reporting/reports';
import type { PoolWait } from '../../cost/pool-wait';

export const POOL_WAITS: ReportKind = {
  name: 'waits for a connection',
  one: 'wait for a connection',
  isError: false,
};

/** Waits for a connection of a full pool by those that hold one: an outage that does not end by itself. */
export const DEADLOCKS: ReportKind = { name: 'pool deadlocks', one: 'pool deadlock', isError: true };

/** Waits that the log has already: it had to be told before their unit of work was over. */
export const saidWaits = oncePerProcess('waits.told', () => new WeakSet<PoolWait>());
