import type { CostRecord } from '../cost/cost-record';
import type { HookErrors } from '../reporting/hook-error-reporter';
import { boundRecord } from '../record/bound-record';

/** How the records of a batch are made. */
export interface RecordMaking<Closed> {
  readonly toRecord: (closed: Closed) => CostRecord;
  readonly hookErrors: HookErrors;
  /** Whether there is a sink that gets what sampling leaves out. */
  readonly hasEvery: boolean;
}

/** The records of one batch, for both kinds of sinks. */
export interface RecordBatch {
  /** All of them, for sinks that count. */
  readonly every: CostRecord[];
  /** Those that are kept, with their weights, as many as there is room for. */
  readonly kept: CostRecord[];
  /** Records that could not be made. */
  readonly failed: number;
  /** Those of them that would have been kept. */
  readonly failedKept: number;
  /** Records that would have been kept, and were not made because nobody has room for them. */
  readonly unwanted: number;
}

/** Makes the records of closed units of work; those of weight 0 are left out by sampling. */
export function makeRecords<Closed>(
  closed: readonly Closed[],
  weights: readonly number[],
  room: number,
  making: RecordMaking<Closed>,
): RecordBatch {
  const every: CostRecord[] = [];
  const kept: CostRecord[] = [];
  let failed = 0;
  let failedKept = 0;
  let unwanted = 0;
  for (let i = 0; i < closed.length; i++) {
    const weight = weights[i] ?? 1;
    const isWanted = weight > 0 && kept.length < room;
    if (weight > 0 && !isWanted) unwanted += 1;
    // A record takes some 10 µs: while a sink is down, none is made for nobody.
    if (!isWanted && !making.hasEvery) continue;
    const record = recordOf(closed[i] as Closed, making);
    if (record === undefined) {
      failed += 1;
      if (isWanted) failedKept += 1;
      continue;
    }
    if (making.hasEvery) every.push(record);
    if (isWanted) kept.push(weight === 1 ? record : Object.freeze({ ...record, weight }));
  }
  return { every, kept, failed, failedKept, unwanted };
}

/** One record; `undefined` where it cannot be made, which is reported. */
export function recordOf<Closed>(
  closed: Closed,
  { toRecord, hookErrors }: RecordMaking<Closed>,
): CostRecord | undefined {
  try {
    return boundRecord(toRecord(closed));
  } catch (error) {
    hookErrors.report('making a cost record', error);
    return undefined;
  }
}
