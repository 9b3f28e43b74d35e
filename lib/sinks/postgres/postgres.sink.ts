import { randomBytes } from 'node:crypto';
import type { CostRecord } from '../../cost/cost-record';
import { HookErrorReporter } from '../../reporting/hook-error-reporter';
import type { CostRecordSink } from '../cost-record.sink';
import { writeFailure } from '../sink-retry';
import type { PostgresError } from './postgres-client';
import { COLUMN_NAMES, copyRows } from './postgres-columns';
import { isRefusal, PostgresConnection } from './postgres-connection';
import { migratePostgres } from './postgres-migrations';
import {
  type PostgresSinkOptions,
  readPostgresOptions,
  type ResolvedPostgresOptions,
} from './postgres-options';
import { PostgresPartitions } from './postgres-partitions';
import { quoteText } from './postgres-table';

/** Rows whose answer was lost: they are in the table, all of them, or none. */
interface Unsure {
  readonly batch: number;
  readonly records: readonly CostRecord[];
}

/** A value that the table cannot take: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const DATA_ERROR = /^2[23]/;
/** A month without a partition is one of them, and another matter. */
const NO_PARTITION = '23514';

/**
 * Copies records to a PostgreSQL table: one `COPY` per batch, on a connection of its own that is reopened when it
 * breaks. Its own statements are not charged to any unit of work.
 *
 * Create the table with `migratePostgres()`, with the SQL of `postgresMigrations()`, or with `migrate: true`.
 *
 * @example
 * AsyncContextModule.forRoot({
 *   sinks: [new PostgresSink({ connection: process.env.TELEMETRY_URL, retainMonths: 12 })],
 * });
 */
export class PostgresSink implements CostRecordSink {
  readonly name: string;
  readonly #options: ResolvedPostgresOptions;
  readonly #copy: string;
  readonly #partitions: PostgresPartitions | undefined;
  readonly #hookErrors = new HookErrorReporter();
  #connection: PostgresConnection | undefined;
  #isMigrated = false;
  #unsure: Unsure | undefined;
  #lastTurn: Promise<void> = Promise.resolve();

  /** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
  constructor(options: PostgresSinkOptions = {}) {
    this.#options = readPostgresOptions(options);
    const { table, schema, retainMonths } = this.#options;
    this.name = `postgres ${table.quoted}`;
    this.#copy = `COPY ${table.quoted} (${COLUMN_NAMES.join(', ')}) FROM STDIN`;
    this.#partitions = schema.partitions ? new PostgresPartitions(table, retainMonths) : undefined;
  }

  /** @throws the driver's error, with the number of records that are in the table */
  write(records: readonly CostRecord[]): Promise<void> {
    return this.#inTurn(() => this.#write(records));
  }

  /** Closes the connection, even if it hangs; the next `write()` opens another one. */
  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  // Two applications of one process may share the sink.
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  async #write(records: readonly CostRecord[]): Promise<void> {
    let done = 0;
    let rejected = 0;
    let refusal: unknown;
    try {
      const connection = await this.#open();
      done = await this.#settle(connection, records);
      let size = records.length - done;
      while (done < records.length) {
        const part = records.slice(done, done + size);
        try {
          await this.#copyPart(connection, part);
          done += part.length;
          size *= 2;
        } catch (error) {
          if (!isDataError(error)) throw error;
          // The one that the table cannot take is looked for by halves; the others are kept.
          if (part.length === 1) {
            refusal = error;
            rejected += 1;
            done += 1;
          }
          size = Math.ceil(size / 2);
        }
      }
      await this.#partitions
        ?.maintain(connection, Date.now())
        .catch((error: unknown) => this.#hookErrors.report(`partitions of ${this.name}`, error));
    } catch (error) {
      this.#partitions?.forget();
      throw writeFailure(error, { delivered: done - rejected, rejected });
    } finally {
      // One of a pool is given back after each batch.
      if (this.#options.pool !== undefined) this.close();
    }
    if (rejected > 0) throw writeFailure(refusal, { delivered: done - rejected, rejected });
  }

  async #open(): Promise<PostgresConnection> {
    if (this.#connection?.isUsable === true) return this.#connection;
    this.close();
    this.#partitions?.forget();
    const connection = await PostgresConnection.open(this.#options);
    this.#connection = connection;
    if (this.#options.migrate && !this.#isMigrated) {
      // A session of pg takes one statement at a time, so no other waits for these.
      await migratePostgres(
        { query: async text => ({ rows: await connection.run(text) }) },
        this.#options.schema,
      );
      this.#isMigrated = true;
    }
    return connection;
  }

  /**
   * Whether rows are in the table whose answer was lost. They are copied in one transaction, so one of
   * them speaks for all; with partitions it holds a lock, so that one which has not ended yet is waited for.
   */
  async #settle(connection: PostgresConnection, records: readonly CostRecord[]): Promise<number> {
    const unsure = this.#unsure;
    const first = unsure?.records[0];
    if (unsure === undefined || first === undefined || first !== records[0]) return 0;
    if (this.#partitions !== undefined) await connection.run(lockOf(unsure.batch));
    const found = await connection.run(
      `SELECT 1 FROM ${this.#options.table.quoted} WHERE started_at = ${quoteText(first.startedAt)} ` +
        `AND batch = ${unsure.batch} LIMIT 1`,
    );
    this.#unsure = undefined;
    return found.length > 0 ? unsure.records.length : 0;
  }

  async #copyPart(connection: PostgresConnection, records: readonly CostRecord[]): Promise<void> {
    await this.#partitions?.prepare(connection, records);
    const batch = randomBytes(6).readUIntBE(0, 6);
    // Statements beside a COPY in one message are of PostgreSQL; not all that speak its protocol take them.
    const before = this.#partitions === undefined ? '' : `${lockOf(batch)}; `;
    this.#unsure = { batch, records };
    try {
      await connection.copy(before, this.#copy, copyRows(records, batch));
      this.#unsure = undefined;
    } catch (error) {
      if (isRefusal(error)) this.#unsure = undefined;
      throw error;
    }
  }
}

/** Held to the end of the transaction. */
function lockOf(batch: number): string {
  return `SELECT pg_advisory_xact_lock(${batch})`;
}

function isDataError(error: unknown): boolean {
  const { code = '' } = (error ?? {}) as PostgresError;
  return isRefusal(error) && DATA_ERROR.test(code) && code !== NO_PARTITION;
}
