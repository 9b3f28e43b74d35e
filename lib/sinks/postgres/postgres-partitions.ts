import type { CostRecord } from '../../cost/cost-record';
import type { PostgresConnection } from './postgres-connection';
import type { PostgresTable } from './postgres-table';

/** The partition of a month is there so long before it begins. */
const AHEAD_MS = 14 * 86_400_000;
/** After a failure, which may take as long as a lock is waited for. */
const AGAIN_AFTER_MS = 60_000;
/** A partition is dropped, or attached, only when nobody reads the table for so long. */
const LOCK_TIMEOUT = `SET LOCAL lock_timeout = '2s'; `;

/** Makes partitions ahead of time and drops old ones, as one sink sees to it. */
export class PostgresPartitions {
  readonly #table: PostgresTable;
  readonly #retainMonths: number | undefined;
  /** `2026-11` */
  readonly #known = new Set<string>();
  #lastDay = '';
  #notBefore = 0;

  constructor(table: PostgresTable, retainMonths: number | undefined) {
    this.#table = table;
    this.#retainMonths = retainMonths;
  }

  /** Another server, or another owner, may have come behind a new connection. */
  forget(): void {
    this.#known.clear();
  }

  /**
   * Sees to it that each record has a partition.
   *
   * @throws the error of the database
   */
  async prepare(connection: PostgresConnection, records: readonly CostRecord[]): Promise<void> {
    for (const record of records) await this.#make(connection, record.startedAt.slice(0, 7));
  }

  /**
   * Makes the partition of the next month when that is near, and once a day drops those that are too old.
   *
   * @throws the error of the database; it is tried again a minute later, or the next day
   */
  async maintain(connection: PostgresConnection, now: number): Promise<void> {
    if (now < this.#notBefore) return;
    this.#notBefore = now + AGAIN_AFTER_MS;
    await this.#make(connection, new Date(now + AHEAD_MS).toISOString().slice(0, 7));
    const day = new Date(now).toISOString().slice(0, 10);
    if (this.#retainMonths === undefined || day === this.#lastDay) return;
    this.#lastDay = day;
    await connection.run(`${LOCK_TIMEOUT}SELECT ${this.#table.quotedWith('_retain')}(${this.#retainMonths})`);
  }

  async #make(connection: PostgresConnection, month: string): Promise<void> {
    if (this.#known.has(month)) return;
    await connection.run(`${LOCK_TIMEOUT}SELECT ${this.#table.quotedWith('_partition')}('${month}-01')`);
    this.#known.add(month);
  }
}
