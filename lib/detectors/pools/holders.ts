import { type Lease, nameOf } from './lease';
import type { HeldStatement, PoolHolder } from '../../cost/pool-wait';

const MAX_HOLDERS = 10;
const MAX_STATEMENTS = 5;

/** Who holds connections at this moment, by handler. */
export function summarizeHolders(leases: readonly Lease[], nowMs: number): readonly PoolHolder[] {
  const byName = new Map<string, Lease[]>();
  for (const lease of leases) {
    const name = nameOf(lease.context);
    const known = byName.get(name);
    if (known === undefined) byName.set(name, [lease]);
    else known.push(lease);
  }
  const holders = [...byName].map(([handler, held]) => holderOf(handler, held, nowMs));
  return Object.freeze(holders.sort((a, b) => b.connections - a.connections).slice(0, MAX_HOLDERS));
}

function holderOf(handler: string, leases: readonly Lease[], nowMs: number): PoolHolder {
  const times = leases.map(({ sinceMs }) => nowMs - sinceMs);
  return Object.freeze({
    handler,
    connections: leases.length,
    closed: leases.filter(({ context }) => context?.isClosed === true).length,
    minHeldMs: round(Math.min(...times)),
    maxHeldMs: round(Math.max(...times)),
    statements: statementsOf(leases),
  });
}

function statementsOf(leases: readonly Lease[]): readonly HeldStatement[] {
  const found = new Map<string, { -readonly [K in keyof HeldStatement]: HeldStatement[K] }>();
  for (const { state, statement } of leases) {
    const shape = statement?.shape;
    const key = `${state} ${shape}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, { state, shape, connections: 1 });
    else known.connections += 1;
  }
  const statements = [...found.values()].sort((a, b) => b.connections - a.connections);
  return Object.freeze(statements.slice(0, MAX_STATEMENTS).map(one => Object.freeze(one)));
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
