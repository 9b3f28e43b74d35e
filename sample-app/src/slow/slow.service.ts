import { Injectable } from '@nestjs/common';
import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'pg';

/** What makes requests slow, each by itself. */
@Injectable()
export class SlowService {
  constructor(private readonly pool: Pool) {}

  /** Does all of it at once, while everybody else waits. */
  render(ms: number): string {
    const end = performance.now() + ms;
    let page = '';
    while (performance.now() < end) page = createHash('sha256').update(page).digest('hex');
    return page;
  }

  /** Asks somebody else while its transaction is open, so that others wait for its connection. */
  async reserve(ms: number): Promise<void> {
    const client = await this.pool.connect();
    try {
      await client.query('BEGIN');
      await client.query('SELECT id FROM products WHERE id = 1 FOR UPDATE');
      await wait(ms);
      await client.query('COMMIT');
    } finally {
      client.release();
    }
  }

  async search(ms: number): Promise<void> {
    await this.pool.query('SELECT pg_sleep($1)', [ms / 1_000]);
  }
}
