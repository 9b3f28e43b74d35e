import { Injectable, type OnModuleInit } from '@nestjs/common';
import { Pool } from 'pg';
import type { ArrivedRecord } from './record.schema';

const TABLE = `
  CREATE TABLE IF NOT EXISTS public.received_cost_records (
    request_id text, started_at timestamptz, handler text, duration_ms float8, queries int, breaches int, record jsonb,
    digest text, PRIMARY KEY (request_id, started_at, digest)
  )`;
// One statement a message. A broker delivers at least once: what is there already stays as it is. The
// digest, because a command has the id of its request, and may begin in the same millisecond.
const INSERT = `
  INSERT INTO public.received_cost_records
  SELECT r->>'requestId', (r->>'startedAt')::timestamptz, r->>'handler', (r->>'durationMs')::float8,
         (r->'queries'->>'count')::int, jsonb_array_length(r->'breaches'), r,
         md5(r::text)
  FROM jsonb_array_elements($1::jsonb) AS r
  ON CONFLICT DO NOTHING`;
/** NUL and half of a pair of surrogates: PostgreSQL has no text with them. */
const UNSTORABLE = /\0|\p{Cs}/gu;

@Injectable()
export class RecordsService implements OnModuleInit {
  constructor(private readonly pool: Pool) {}

  async onModuleInit(): Promise<void> {
    await this.pool.query(TABLE);
  }

  /** How many of them were not there yet. */
  async store(records: readonly ArrivedRecord[]): Promise<number> {
    if (records.length === 0) return 0;
    const { rowCount } = await this.pool.query(INSERT, [JSON.stringify(records, storable)]);
    return rowCount ?? 0;
  }
}

function storable(_name: string, value: unknown): unknown {
  return typeof value === 'string' ? value.replace(UNSTORABLE, '\ufffd') : value;
}
