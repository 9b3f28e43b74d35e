import type { CostRecord, CostRecordSink } from 'nestjs-async-context';

/** What the records of one handler come to. */
export interface HandlerStatistics {
  readonly handler: string;
  readonly queries: number[];
  rows: number;
  databaseMs: number;
  calls: number;
  nPlusOne: number;
  breaches: number;
  slow: number;
  refused: number;
}

/** Sums up the cost records by handler: a sink is a name and a `write()`. */
export class StatisticsSink implements CostRecordSink {
  readonly name = 'statistics';
  readonly #handlers = new Map<string, HandlerStatistics>();

  write(records: readonly CostRecord[]): void {
    for (const record of records) {
      const statistics = this.#of(record.handler ?? `(${record.error ?? 'no handler'})`);
      statistics.queries.push(record.queries.count);
      statistics.rows += record.queries.rows;
      statistics.databaseMs += record.queries.busyMs;
      statistics.calls += record.http?.count ?? 0;
      if (record.findings?.some(({ kind }) => kind === 'n-plus-one')) statistics.nPlusOne += 1;
      if (record.breaches.length > 0) statistics.breaches += 1;
      if (record.slow !== undefined) statistics.slow += 1;
      if (record.refused !== undefined) statistics.refused += 1;
    }
  }

  /** The handlers, those with the most database time first. */
  handlers(): HandlerStatistics[] {
    return [...this.#handlers.values()].sort((a, b) => b.databaseMs - a.databaseMs);
  }

  #of(handler: string): HandlerStatistics {
    const known = this.#handlers.get(handler);
    if (known !== undefined) return known;
    const statistics = {
      handler,
      queries: [],
      rows: 0,
      databaseMs: 0,
      calls: 0,
      nPlusOne: 0,
      breaches: 0,
      slow: 0,
      refused: 0,
    };
    this.#handlers.set(handler, statistics);
    return statistics;
  }
}
