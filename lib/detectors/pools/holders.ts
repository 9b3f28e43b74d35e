import { type Holding, nameOf } from './holding';
import type { HeldStatement, PoolHolder } from '../../cost/pool-wait';

const MAX_HOLDERS = 10;
const MAX_STATEMENTS = 5;

/** Who holds connections at this moment, by handler. */
export function summarizeHolders(holdings: readonly Holding[], nowMs: number): readonly PoolHolder[] {
  const byName = new Map<string, Holding[]>();
  for (const holding of holdings) {
    const name = nameOf(holding.context);
    const known = byName.get(name);
    if (known === undefined) byName.set(name, [holding]);
    else known.push(holding);
  }
  const holders = [...byName].map(([handler, held]) => holderOf(handler, held, nowMs));
  return Object.freeze(holders.sort((a, b) => b.connections - a.connections).slice(0, MAX_HOLDERS));
}

function holderOf(handler: string, holdings: readonly Holding[], nowMs: number): PoolHolder {
  const times = holdings.map(({ sinceMs }) => nowMs - sinceMs);
  return Object.freeze({
    handler,
    connections: holdings.length,
    closed: holdings.filter(({ context }) => context?.isClosed === true).length,
    minHeldMs: round(Math.min(...times)),
    maxHeldMs: round(Math.max(...times)),
    statements: statementsOf(holdings),
  });
}

function statementsOf(holdings: readonly Holding[]): readonly HeldStatement[] {
  const found = new Map<string, { -readonly [K in keyof HeldStatement]: HeldStatement[K] }>();
  for (const { state, statement } of holdings) {
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
