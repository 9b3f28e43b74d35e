import type { PostgresClient, PostgresPool, PostgresResult } from './postgres-client';
import { COLUMN_DEFINITIONS } from './postgres-columns';
import { type PostgresTable, quoteName, quoteText, readTable } from './postgres-table';

/** Table and layout of the schema. */
export interface PostgresSchemaOptions {
  /**
   * `table` or `schema.table`, with a table name of at most 50 bytes; the default schema is `public`.
   * @default 'cost_records'
   */
  readonly table?: string;
  /**
   * Whether the table has a partition for each month. Without partitions it is a plain table, for engines with other
   * means (a hypertable, a distributed table) or none.
   * @default true
   */
  readonly partitions?: boolean;
}

/** One step of the schema. Published steps never change; later versions add steps. */
export interface PostgresMigration {
  /** 1, 2, 3, … */
  readonly version: number;
  readonly description: string;
  /** Statements to run in one transaction. */
  readonly sql: string;
}

/**
 * Returns the SQL of the schema, for your own migration tool.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 * @example
 * for (const { sql } of postgresMigrations({ table: 'telemetry.cost_records' })) console.log(sql);
 */
export function postgresMigrations(options: PostgresSchemaOptions = {}): readonly PostgresMigration[] {
  const table = readTable(options.table ?? 'cost_records', 'postgresMigrations');
  return options.partitions === false
    ? [{ version: 1, description: 'a plain table', sql: plainTable(table) }]
    : [{ version: 1, description: 'a table with one partition per month', sql: partitionedTable(table) }];
}

/**
 * Brings the schema up to date: runs the missing steps, each in a transaction. Instances that start at the same time
 * wait for each other.
 *
 * @returns the versions that were applied
 * @throws the error of the database, after a rollback
 * @example
 * await migratePostgres(new Pool({ connectionString: process.env.DATABASE_URL }));
 */
export async function migratePostgres(
  client: PostgresClient | PostgresPool,
  options: PostgresSchemaOptions = {},
): Promise<readonly number[]> {
  if (!('idleCount' in client)) return migrate(client, options);
  const connection = await client.connect();
  // While it is lent nobody else listens: a connection that is lost would end the process.
  connection.on('error', ignore);
  let isBroken = true;
  try {
    const versions = await migrate(connection, options);
    isBroken = false;
    return versions;
  } finally {
    if (!isBroken) connection.off('error', ignore);
    connection.release(isBroken);
  }
}

async function migrate(client: PostgresClient, options: PostgresSchemaOptions): Promise<readonly number[]> {
  const table = readTable(options.table ?? 'cost_records', 'migratePostgres');
  const versions = table.quotedWith('_versions');
  const run: number[] = [];
  await client.query('BEGIN');
  try {
    await client.query(`SELECT pg_advisory_xact_lock(hashtext(${quoteText(`${table.quoted} schema`)}))`);
    await client.query(
      `CREATE TABLE IF NOT EXISTS ${versions} (version integer PRIMARY KEY, run_at timestamptz NOT NULL)`,
    );
    const { rows } = (await client.query(`SELECT version FROM ${versions}`)) as PostgresResult;
    const known = new Set(rows.map(row => (row as { version: number }).version));
    for (const { version, sql } of postgresMigrations(options)) {
      if (known.has(version)) continue;
      await client.query(sql);
      await client.query(`INSERT INTO ${versions} (version, run_at) VALUES (${version}, now())`);
      run.push(version);
    }
    await client.query('COMMIT');
    return run;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

function plainTable(table: PostgresTable): string {
  return `${createTable(table)};

CREATE INDEX ${quoteName(`${table.name}_started_at`)} ON ${table.quoted} (started_at);
${createIndexes(table)}`;
}

function partitionedTable(table: PostgresTable): string {
  return `${createTable(table)} PARTITION BY RANGE (started_at);

CREATE INDEX ${quoteName(`${table.name}_started_at`)} ON ${table.quoted} USING brin (started_at);
${createIndexes(table)}
${partitionFunction(table)}
${retainFunction(table)}`;
}

function createTable(table: PostgresTable): string {
  return `CREATE TABLE ${table.quoted} (\n  ${COLUMN_DEFINITIONS.join(',\n  ')}\n)`;
}

function createIndexes(table: PostgresTable): string {
  return `CREATE INDEX ${quoteName(`${table.name}_handler`)} ON ${table.quoted} (handler, started_at);
CREATE INDEX ${quoteName(`${table.name}_breaches`)} ON ${table.quoted} (started_at) WHERE breaches > 0;
`;
}

/**
 * Makes the partition of a month. It is attached, not made in place: that would lock the table for
 * readers. Run as the owner of the table, so that the role which writes needs no right but to call it.
 */
function partitionFunction(table: PostgresTable): string {
  const [schema, name] = [quoteText(table.schema), quoteText(table.name)];
  const namespace = quoteText(quoteName(table.schema));
  const body = bodyQuote(table);
  return `CREATE FUNCTION ${table.quotedWith('_partition')}(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${body}
DECLARE
  first date := date_trunc('month', month);
  part text := ${name} || to_char(first, '_YYYY_MM');
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext(${quoteText(`${table.quoted} partitions`)}));
  -- Not to_regclass(): it remembers that there was none before the lock.
  IF EXISTS (SELECT 1 FROM pg_class WHERE relname = part AND relnamespace = ${namespace}::regnamespace) THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING ALL)', ${schema}, part, ${schema}, ${name});
  EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
    ${schema}, ${name}, ${schema}, part,
    first || ' 00:00:00+00', (first + interval '1 month')::date || ' 00:00:00+00');
END
${body};
REVOKE ALL ON FUNCTION ${table.quotedWith('_partition')}(date) FROM PUBLIC;
`;
}

/** Drops the partitions of months that are over for longer than so many months. */
function retainFunction(table: PostgresTable): string {
  const [schema, name] = [quoteText(table.schema), quoteText(table.name)];
  const body = bodyQuote(table);
  return `CREATE FUNCTION ${table.quotedWith('_retain')}(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${body}
DECLARE
  oldest text := to_char(now() AT TIME ZONE 'UTC' - make_interval(months => months), '_YYYY_MM');
  part text;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext(${quoteText(`${table.quoted} partitions`)}));
  FOR part IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = format('%I.%I', ${schema}, ${name})::regclass
      AND c.relname ~ '_\\d{4}_\\d{2}$' AND length(c.relname) = length(${name}) + 8
      AND right(c.relname, 8) < oldest
  LOOP
    EXECUTE format('DROP TABLE %I.%I', ${schema}, part);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
${body};
REVOKE ALL ON FUNCTION ${table.quotedWith('_retain')}(integer) FROM PUBLIC;
`;
}

/** What stands around the body of a function; names may hold anything. */
function bodyQuote({ schema, name }: PostgresTable): string {
  let quote = '$body$';
  for (let i = 0; `${schema} ${name}`.includes(quote); i++) quote = `$body${i}$`;
  return quote;
}

function ignore(): void {}
