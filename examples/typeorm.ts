// An N+1 of TypeORM, and the same orders by `relations`.
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AsyncContextModule, ContextLogger, MemorySink } from 'nestjs-async-context';
import { DataSource, Entity, ManyToOne, OneToMany, PrimaryGeneratedColumn } from 'typeorm';

@Entity('orders')
class Order {
  @PrimaryGeneratedColumn() readonly id!: number;
  @OneToMany('Item', 'order', { cascade: true }) items!: object[];
}
@Entity('items')
class Item {
  @PrimaryGeneratedColumn() readonly id!: number;
  @ManyToOne(() => Order, 'items') readonly order!: Order;
}
const url = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres';
const schema = `example_typeorm_${process.pid}`;
const extra = { options: `-c search_path=${schema}` };
const db = new DataSource({ type: 'postgres', url, extra, entities: [Order, Item] });
const sink = new MemorySink();

const itemsOf = (id: number): Promise<Item[]> => db.manager.findBy(Item, { order: { id } });
@Controller('orders')
class OrdersController {
  @Get('one-by-one')
  async oneByOne(): Promise<Order[]> {
    const orders = await db.manager.find(Order);
    for (const order of orders) order.items = await itemsOf(order.id);
    return orders;
  }
  @Get('at-once')
  atOnce(): Promise<Order[]> {
    return db.manager.find(Order, { relations: { items: true } });
  }
}
@Module({ imports: [AsyncContextModule.forRoot({ sinks: [sink] })], controllers: [OrdersController] })
class AppModule {}

async function main(): Promise<void> {
  await db.initialize();
  await db.query(`CREATE SCHEMA ${schema}`);
  await db.synchronize();
  for (let i = 0; i < 30; i++) await db.manager.save(Order, { items: [{}, {}] });
  const logger = new ContextLogger({ logLevels: ['warn', 'error'], short: true });
  const app = await NestFactory.create(AppModule, { logger });
  await app.listen(0);
  for (const path of ['one-by-one', 'at-once']) await fetch(`${await app.getUrl()}/orders/${path}`);
  await app.close();
  await db.query(`DROP SCHEMA ${schema} CASCADE`);
  await db.destroy();
  const [before, after] = sink.records.map(record => record.queries.count);
  console.log(`one by one: ${before} queries; at once: ${after}`);
  process.exitCode = sink.records[0]?.findings?.[0]?.kind === 'n-plus-one' && after === 1 ? 0 : 1;
}
main().catch((error: { code?: string }) => {
  if (error.code !== 'ECONNREFUSED') throw error;
  console.log('No PostgreSQL: docker run --rm -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres:17');
  process.exitCode = process.env['CI'] ? 1 : 0;
});
