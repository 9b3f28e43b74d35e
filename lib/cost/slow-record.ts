import type { CallDimension } from './call-ledger';
import type { CostRecord } from './cost-record';
import type { LoopBlock } from './event-loop';
import { cutShape } from '../sql/shown-shape';
import { partsOf, siteOf, type SlowRecord, type TimePart } from './time-record';

const MAX_CULPRITS = 5;
const SHAPE_WIDTH = 100;

/** What a slow unit of work is explained with. */
export interface SlowEvidence extends Pick<CostRecord, 'queries' | CallDimension | 'stalls'> {
  /** Blocks of the event loop that are its own. */
  readonly ownBlocks: readonly LoopBlock[];
  /** Handlers that held the connections for which it waited. */
  readonly holders: readonly string[];
}

/** Why a unit of work was slow: the largest part of its time, and who or what it was. */
export function recordSlow(time: NonNullable<CostRecord['time']>, evidence: SlowEvidence): SlowRecord {
  const [[because, ms]] = partsOf(time) as [[TimePart, number]];
  const culprits = [...new Set(culpritsOf(because, evidence))].slice(0, MAX_CULPRITS);
  return Object.freeze({ because, ms, culprits: Object.freeze(culprits) });
}

function culpritsOf(part: TimePart, evidence: SlowEvidence): string[] {
  switch (part) {
    case 'database':
      return evidence.queries.shapes
        .toSorted((a, b) => b.durationMs - a.durationMs)
        .map(({ shape }) => cutShape(shape, SHAPE_WIDTH));
    case 'pool':
      return [...evidence.holders];
    case 'http':
    case 'cache':
    case 'messages':
      return Object.entries(evidence[part]?.byTarget ?? {})
        .sort(([, a], [, b]) => b.durationMs - a.durationMs)
        .map(([target]) => target);
    case 'own':
      return evidence.ownBlocks.flatMap(block => siteOf(block) ?? []);
    case 'stalled':
      return (evidence.stalls ?? []).flatMap(({ handler, at }) =>
        handler === undefined ? (at ?? []) : at === undefined ? handler : `${handler} (${at})`,
      );
    case 'slot':
    case 'unknown':
    case 'starved':
    case 'other':
      return [];
  }
}
