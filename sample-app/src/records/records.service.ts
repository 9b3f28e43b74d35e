import { Injectable, type OnModuleInit } from '@nestjs/common';
import { Pool } from 'pg';
import type { ArrivedRecord } from './record.schema';

const TABLE = `
  CREATE TABLE IF NOT EXISTS public.received_cost_records (
    request_id text, started_at timestamptz, handler text, duration_ms float8, queries int, breaches int, record jsonb,
    PRIMARY KEY (request_id, started_at)
  )`;
// One statement a message. A broker delivers at least once: what is there already stays as it is.
const INSERT = `
  INSERT INTO public.received_cost_records
  SELECT r->>'requestId', (r->>'startedAt')::timestamptz, r->>'handler', (r->>'durationMs')::float8,
         (r->'queries'->>'count')::int, jsonb_array_length(r->'breaches'), r
  FROM jsonb_array_elements($1::jsonb) AS r
  ON CONFLICT DO NOTHING`;
/** `\\u0000` of JSON, and not the end of an escaped backslash: PostgreSQL has no text with it. */
const NUL = /(?<!\\)((?:\\\\)*)\\u0000/g;

@Injectable()
export class RecordsService implements OnModuleInit {
  constructor(private readonly pool: Pool) {}

  async onModuleInit(): Promise<void> {
    await this.pool.query(TABLE);
  }

  /** How many of them were not there yet. */
  async store(records: readonly ArrivedRecord[]): Promise<number> {
    if (records.length === 0) return 0;
    const { rowCount } = await this.pool.query(INSERT, [JSON.stringify(records).replace(NUL, '$1\\ufffd')]);
    return rowCount ?? 0;
  }
}
