import { invalidOption } from '../../kernel/errors';
import { checkObject, readBoolean } from '../../kernel/option-checks';
import { runUncharged } from '../../context/charge-redirect';
import { whenSettled } from '../../kernel/thenable';
import { type PostgresTable, readTable } from '../../sinks/postgres/postgres-table';
import type { CostLimitLevel, CostLimitStore, CostLimitTake } from './cost-limit-store';

const CALL = 'new PostgresCostLimitStore';
/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const NO_TABLE = '42P01';
/** What one of several that create the same table at once is told. */
const EXISTS: ReadonlySet<unknown> = new Set(['23505', '42P07', '42710']);
const CLEAN_EVERY_MS = 60_000;
const CLEANED_AT_ONCE = 1_000;

/** The part of a `pg` `Pool` that is used. */
export interface PostgresQueries {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
}

/** Options of `new PostgresCostLimitStore()`. */
export interface PostgresCostLimitOptions {
  /** A `pg` pool, preferably a separate one with a few connections. The application closes it. */
  readonly pool: PostgresQueries;
  /**
   * `table` or `schema.table`; the default schema is `public`.
   * @default 'cost_limits'
   */
  readonly table?: string;
  /**
   * Whether to create a missing table. It is unlogged: after a crash of the server all buckets are full.
   * @default true
   */
  readonly createTable?: boolean;
}

/**
 * Stores the buckets of `@CostLimit()` in a PostgreSQL table, so that all processes of an application share them: one
 * statement per request, with the server's clock. Buckets that are full again are deleted from time to time.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 *
 * @example
 * import { Pool } from 'pg';
 *
 * AsyncContextModule.forRoot({
 *   guards: { costLimit: { store: new PostgresCostLimitStore({ pool: new Pool({ max: 4 }) }) } },
 * });
 */
export class PostgresCostLimitStore implements CostLimitStore {
  readonly #pool: PostgresQueries;
  readonly #table: PostgresTable;
  readonly #createsTable: boolean;
  readonly #take: string;
  #creating: Promise<void> | undefined;
  // Not at once, and not of all processes that were started together in the same second.
  #cleansAtMs = performance.now() + CLEAN_EVERY_MS * (0.5 + Math.random());

  constructor(options: PostgresCostLimitOptions) {
    checkObject('', options, ['pool', 'table', 'createTable'], CALL);
    const { pool, table = 'cost_limits', createTable = true } = options;
    if (typeof (pool as { query?: unknown } | undefined)?.query !== 'function') {
      throw invalidOption('pool', pool, 'Use a pg Pool.', CALL);
    }
    this.#pool = pool;
    this.#table = readTable(table, CALL);
    this.#createsTable = readBoolean('createTable', createTable, CALL);
    this.#take = takeSql(this.#table);
  }

  /** @throws the driver's error */
  async take(take: CostLimitTake): Promise<CostLimitLevel> {
    const { key, burst, restorePerSecond, need, take: points } = take;
    const values = [key, burst, restorePerSecond, need, points, LONGEST_SECONDS];
    let rows: readonly unknown[];
    try {
      ({ rows } = await this.#query(this.#take, values));
    } catch (error) {
      if (!this.#createsTable || codeOf(error) !== NO_TABLE) throw error;
      await this.#create();
      ({ rows } = await this.#query(this.#take, values));
    }
    if (performance.now() >= this.#cleansAtMs) this.#clean();
    return rows[0] as CostLimitLevel;
  }

  /** Deletes up to 1,000 buckets that are full again and returns how many. Called automatically once a minute. */
  async clean(): Promise<number> {
    const { rows } = await this.#query(cleanSql(this.#table));
    return rows.length;
  }

  #clean(): void {
    this.#cleansAtMs = performance.now() + CLEAN_EVERY_MS;
    // What fails now is tried again in a minute.
    whenSettled(
      this.clean(),
      () => undefined,
      () => undefined,
    );
  }

  #query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly unknown[] }> {
    return runUncharged(() => this.#pool.query(text, values));
  }

  #create(): Promise<void> {
    this.#creating ??= this.#query(createSql(this.#table))
      .then(
        () => undefined,
        (error: unknown) => {
          if (!EXISTS.has(codeOf(error))) throw error;
        },
      )
      .finally(() => (this.#creating = undefined));
    return this.#creating;
  }
}

// `level` is what there was at `at`, and `full_at` when it will be full. All else in a row is of the last answer, so
// that one statement can give it: a refusal changes nothing but that.
function createSql({ quoted }: PostgresTable): string {
  return `CREATE UNLOGGED TABLE IF NOT EXISTS ${quoted} (
  key text PRIMARY KEY, level double precision NOT NULL, at timestamptz NOT NULL, full_at timestamptz NOT NULL,
  admitted boolean NOT NULL, seen double precision NOT NULL
) WITH (fillfactor = 50)`;
}

/** 68 years: what is restored more slowly than that has no end that a date can say. */
const LONGEST_SECONDS = 2_147_483_647;

// The time is read once, and before the row is locked: of two that wait for it the second may be the older one.
const SECONDS = 'EXTRACT(EPOCH FROM GREATEST(b.at, EXCLUDED.at) - b.at)::float8';
const FOUND = `LEAST($2::float8, b.level + ${SECONDS} * $3::float8)`;

// Without a literal, as a text that has one is scanned each time by what counts queries: 45 µs.
function takeSql({ quoted }: PostgresTable): string {
  const [full, found] = ['$2::float8', FOUND];
  return `INSERT INTO ${quoted} AS b (key, level, at, full_at, admitted, seen)
SELECT $1, ${leftOf(full)}, t.at, ${fullAt('t.at', leftOf(full))}, ${isEnough(full)}, ${leftOf(full)}
FROM (SELECT clock_timestamp() AS at) t
ON CONFLICT (key) DO UPDATE SET
  level = CASE WHEN ${isEnough(found)} THEN ${leftOf(found)} ELSE b.level END,
  at = CASE WHEN ${isEnough(found)} THEN GREATEST(b.at, EXCLUDED.at) ELSE b.at END,
  full_at = ${fullAt('GREATEST(b.at, EXCLUDED.at)', leftOf(found))},
  admitted = ${isEnough(found)},
  seen = ${leftOf(found)}
RETURNING admitted, seen AS level`;
}

function isEnough(level: string): string {
  return `${level} >= $4::float8`;
}

function leftOf(level: string): string {
  return `CASE WHEN ${isEnough(level)} THEN LEAST($2::float8, ${level} - $5::float8) ELSE ${level} END`;
}

function fullAt(at: string, level: string): string {
  return `${at} + make_interval(secs => LEAST($6::float8, ($2::float8 - (${level})) / $3::float8))`;
}

function cleanSql({ quoted }: PostgresTable): string {
  return `DELETE FROM ${quoted} WHERE key IN (
  SELECT key FROM ${quoted} WHERE full_at <= now() LIMIT ${CLEANED_AT_ONCE} FOR UPDATE SKIP LOCKED
) RETURNING 1`;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null | undefined)?.code;
}
