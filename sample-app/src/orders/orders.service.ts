import { Injectable, Logger } from '@nestjs/common';
import { ContextService } from 'nestjs-async-context';
import { Pool } from 'pg';
import QueryStream from 'pg-query-stream';

export interface Order {
  readonly id: number;
  readonly customer: string;
}

export interface Item {
  readonly product: string;
  readonly quantity: number;
}

const LATEST = `
  SELECT o.id, c.name AS customer
  FROM orders AS o JOIN customers AS c ON c.id = o.customer_id
  ORDER BY o.id DESC LIMIT $1`;
const ITEMS = `
  SELECT p.name AS product, i.quantity
  FROM order_items AS i JOIN products AS p ON p.id = i.product_id
  WHERE i.order_id = $1`;
const ITEMS_OF_ALL = `
  SELECT i.order_id, p.name AS product, i.quantity
  FROM order_items AS i JOIN products AS p ON p.id = i.product_id
  WHERE i.order_id = ANY ($1)`;

@Injectable()
export class OrdersService {
  readonly #logger = new Logger(OrdersService.name);

  constructor(
    private readonly pool: Pool,
    private readonly context: ContextService,
  ) {}

  async latest(count: number): Promise<Order[]> {
    const { rows } = await this.pool.query<Order>(LATEST, [count]);
    return rows;
  }

  async items(orderId: number): Promise<Item[]> {
    const { rows } = await this.pool.query<Item>(ITEMS, [orderId]);
    return rows;
  }

  /** Two queries, however many orders there are. */
  async latestWithItems(count: number): Promise<unknown[]> {
    const orders = await this.latest(count);
    const { rows } = await this.pool.query<Item & { order_id: number }>(ITEMS_OF_ALL, [
      orders.map(({ id }) => id),
    ]);
    return orders.map(order => ({ ...order, items: rows.filter(item => item.order_id === order.id) }));
  }

  /** The same with a query for each order: what an ORM's lazy relation does. */
  async latestWithItemsOneByOne(count: number): Promise<unknown[]> {
    const orders = await this.latest(count);
    const result: unknown[] = [];
    for (const order of orders) result.push({ ...order, items: await this.items(order.id) });
    return result;
  }

  async create(customerId: number, productIds: readonly number[]): Promise<number> {
    const client = await this.pool.connect();
    try {
      await client.query('BEGIN');
      const { rows } = await client.query<{ id: number }>(
        'INSERT INTO orders (customer_id, created_on) VALUES ($1, CURRENT_DATE) RETURNING id',
        [customerId],
      );
      const id = rows[0]?.id ?? 0;
      await client.query('INSERT INTO order_items SELECT $1::int, unnest($2::int[]), 1', [id, productIds]);
      await client.query('COMMIT');
      this.#logger.debug(
        `order ${id} by ${this.context.user?.id ?? 'nobody'} in request ${this.context.requestId}`,
      );
      return id;
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  }

  /** Rows as they come, without holding them all. */
  async *export(count: number): AsyncGenerator<string> {
    const client = await this.pool.connect();
    try {
      const rows = client.query(
        new QueryStream('SELECT id, customer_id FROM orders ORDER BY id LIMIT $1', [count]),
      );
      for await (const row of rows as AsyncIterable<{ id: number; customer_id: number }>) {
        yield `${row.id},${row.customer_id}\n`;
      }
    } finally {
      client.release();
    }
  }
}
