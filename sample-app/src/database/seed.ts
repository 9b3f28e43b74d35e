import type { Pool } from 'pg';

/** A schema of its own, so that nothing else of a database is touched. */
export const SCHEMA = 'nestjs_async_context_sample';

const STATEMENTS = [
  `DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`,
  `CREATE SCHEMA ${SCHEMA}`,
  `CREATE TABLE ${SCHEMA}.customers (id int PRIMARY KEY, name text NOT NULL, city text NOT NULL)`,
  `CREATE TABLE ${SCHEMA}.products (id int PRIMARY KEY, name text NOT NULL, price_cents int NOT NULL, stock int NOT NULL)`,
  `CREATE TABLE ${SCHEMA}.orders (id serial PRIMARY KEY, customer_id int NOT NULL REFERENCES ${SCHEMA}.customers, created_on date NOT NULL)`,
  `CREATE TABLE ${SCHEMA}.order_items (order_id int NOT NULL REFERENCES ${SCHEMA}.orders, product_id int NOT NULL REFERENCES ${SCHEMA}.products, quantity int NOT NULL)`,
  `INSERT INTO ${SCHEMA}.customers SELECT n, 'Customer ' || n, (ARRAY['Zürich','Lyon','Porto','Turku','Graz'])[1 + n % 5] FROM generate_series(1, 500) AS n`,
  `INSERT INTO ${SCHEMA}.products SELECT n, 'Product ' || n, 100 + n * 37 % 9900, 1000 FROM generate_series(1, 200) AS n`,
  `INSERT INTO ${SCHEMA}.orders (customer_id, created_on) SELECT 1 + n * 7919 % 500, DATE '2026-01-01' + n % 320 FROM generate_series(1, 10000) AS n`,
  `INSERT INTO ${SCHEMA}.order_items SELECT o, 1 + (o * 31 + i * 17) % 200, 1 + (o + i) % 4 FROM generate_series(1, 10000) AS o, generate_series(1, 5 + o % 2) AS i`,
  `CREATE INDEX ON ${SCHEMA}.order_items (order_id)`,
  `CREATE INDEX ON ${SCHEMA}.orders (created_on)`,
  `CREATE INDEX ON ${SCHEMA}.orders (customer_id)`,
];

/** 500 customers, 200 products, 10,000 orders, 55,000 items: the same each time. */
export async function seed(pool: Pool): Promise<void> {
  for (const statement of STATEMENTS) await pool.query(statement);
}

/** The same unless it is there already: several processes may start on one database. */
export async function seedOnce(pool: Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock(hashtext($1))', [SCHEMA]);
    const { rows } = await client.query<{ found: boolean }>('SELECT to_regclass($1) IS NOT NULL AS found', [
      `${SCHEMA}.orders`,
    ]);
    if (rows[0]?.found !== true) for (const statement of STATEMENTS) await client.query(statement);
    await client.query('COMMIT');
  } finally {
    // After an error the connection is closed, and its transaction with it.
    client.release(true);
  }
}

export async function dropSeed(pool: Pool): Promise<void> {
  await pool.query(`DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`);
}
