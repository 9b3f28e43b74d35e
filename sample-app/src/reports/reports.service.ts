import { Injectable } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { QueryBudget, RunInContext } from 'nestjs-async-context';
import { Pool } from 'pg';

@Injectable()
export class ReportsService {
  constructor(private readonly pool: Pool) {}

  /** Fetches every row to show how many there are. */
  async countByFetching(): Promise<number> {
    const { rows } = await this.pool.query('SELECT * FROM order_items');
    return rows.length;
  }

  async count(): Promise<number> {
    const { rows } = await this.pool.query<{ count: number }>(
      'SELECT count(*)::int AS count FROM order_items',
    );
    return rows[0]?.count ?? 0;
  }

  /** A query a day. */
  async ordersPerDay(days: number): Promise<number[]> {
    const counts: number[] = [];
    for (let day = 0; day < days; day++) {
      const { rows } = await this.pool.query<{ count: number }>(
        "SELECT count(*)::int AS count FROM orders WHERE created_on = DATE '2026-01-01' + $1::int",
        [day],
      );
      counts.push(rows[0]?.count ?? 0);
    }
    return counts;
  }

  @Interval(2_000)
  @RunInContext()
  @QueryBudget({ writes: 1 })
  async restock(): Promise<void> {
    await this.pool.query('UPDATE products SET stock = 1000 WHERE stock < 900');
  }
}
