import type { CostRecord } from 'nestjs-async-context';

/** A record of an uneventful request, with what a test wants to be different. */
export function recordOf(
  requestId: string,
  queries: Partial<CostRecord['queries']> = {},
  more: Partial<CostRecord> = {},
): CostRecord {
  return {
    v: 1,
    requestId,
    kind: 'http',
    aborted: false,
    startedAt: '2026-11-20T12:00:00.000Z',
    durationMs: 1,
    time: {
      databaseMs: 0,
      poolMs: 0,
      httpMs: 0,
      cacheMs: 0,
      messagesMs: 0,
      slotMs: 0,
      ownMs: 1,
      stalledMs: 0,
      unknownMs: 0,
      starvedMs: 0,
      otherMs: 0,
    },
    queries: {
      count: 0,
      errors: 0,
      writes: 0,
      transactions: 0,
      durationMs: 0,
      waitMs: 0,
      busyMs: 0,
      rows: 0,
      bytes: 0,
      maxConcurrent: 0,
      late: 0,
      byTable: {},
      shapes: [],
      shapesDropped: 0,
      ...queries,
    },
    breaches: [],
    ...more,
  };
}
