import { Injectable } from '@nestjs/common';
import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'pg';

@Injectable()
export class GuardedService {
  constructor(private readonly pool: Pool) {}

  /** As dear as its caller wants it to be. */
  async search(count: number): Promise<number> {
    let found = 0;
    for (let i = 0; i < count; i++) {
      const { rowCount } = await this.pool.query('SELECT id FROM orders WHERE customer_id = $1', [i]);
      found += rowCount ?? 0;
    }
    return found;
  }

  /** A file that takes its time: here a timer. */
  async export(): Promise<unknown> {
    const { rows } = await this.pool.query('SELECT count(*)::int AS orders FROM orders');
    await wait(300);
    return rows[0];
  }

  /** One INSERT for each row, in one transaction. */
  async import(count: number): Promise<number> {
    const client = await this.pool.connect();
    try {
      await client.query('BEGIN');
      for (let i = 0; i < count; i++) {
        await client.query('INSERT INTO orders (customer_id, created_on) VALUES ($1, CURRENT_DATE)', [1]);
      }
      await client.query('COMMIT');
      return count;
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  }
}
