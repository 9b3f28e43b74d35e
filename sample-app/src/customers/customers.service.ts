import { Injectable } from '@nestjs/common';
import { Pool } from 'pg';

export interface Customer {
  readonly id: number;
  readonly name: string;
  readonly city: string;
  readonly orders: number;
}

@Injectable()
export class CustomersService {
  constructor(private readonly pool: Pool) {}

  async find(id: number): Promise<Customer | undefined> {
    const { rows } = await this.pool.query<Customer>(
      `SELECT c.id, c.name, c.city, count(o.id)::int AS orders
       FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id
       WHERE c.id = $1 GROUP BY c.id`,
      [id],
    );
    return rows[0];
  }
}
