// A field that makes a query for each order, and the same with a DataLoader, which is kept in the context.
import { ApolloDriver } from '@nestjs/apollo';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Field, GraphQLModule, ObjectType, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import DataLoader from 'dataloader';
import { AsyncContextModule, ContextLogger, ContextService, MemorySink } from 'nestjs-async-context';
import { Pool } from 'pg';

const connectionString = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres';
const pool = new Pool({ connectionString, max: 1, idleTimeoutMillis: 0 }); // one: it has the tables
const sink = new MemorySink();
@ObjectType()
class Order {
  @Field() readonly id!: number;
  readonly customer!: number;
}
async function namesOf(ids: readonly number[]): Promise<string[]> {
  const { rows } = await pool.query('SELECT id, name FROM customers WHERE id = ANY($1)', [ids]);
  return ids.map(id => rows.find(row => row.id === id).name);
}
@Resolver(() => Order)
class OrdersResolver {
  constructor(private readonly context: ContextService) {}
  @Query(() => [Order])
  async orders(): Promise<Order[]> {
    return (await pool.query('SELECT id, customer_id AS customer FROM orders')).rows;
  }
  @ResolveField(() => String)
  async oneByOne(@Parent() { customer }: Order): Promise<string> {
    return (await pool.query('SELECT name FROM customers WHERE id = $1', [customer])).rows[0].name;
  }
  @ResolveField(() => String)
  atOnce(@Parent() { customer }: Order): Promise<string> {
    if (!this.context.has('names')) this.context.set('names', new DataLoader(namesOf));
    return this.context.get<DataLoader<number, string>>('names')!.load(customer);
  }
}
const graphql = GraphQLModule.forRoot({ driver: ApolloDriver, autoSchemaFile: true });
@Module({ imports: [AsyncContextModule.forRoot({ sinks: [sink] }), graphql], providers: [OrdersResolver] })
class AppModule {}
async function main(): Promise<void> {
  await pool.query(`CREATE TEMP TABLE orders AS SELECT id, 90 - id AS customer_id FROM generate_series(1, 20) id;
    CREATE TEMP TABLE customers AS SELECT id, 'customer ' || id AS name FROM generate_series(1, 90) id`);
  const logger = new ContextLogger({ logLevels: ['warn', 'error'], short: true });
  const app = await NestFactory.create(AppModule, { logger });
  await app.listen(0);
  const url = `${await app.getUrl()}/graphql?query=`;
  const init = { headers: { 'apollo-require-preflight': 'true' } };
  for (const field of ['oneByOne', 'atOnce']) await fetch(`${url}{orders{id,${field}}}`, init);
  await app.close().then(() => pool.end());
  const [before, after] = sink.records.map(record => record.queries.count);
  console.log(`one by one: ${before} queries; with a DataLoader: ${after}`);
  process.exitCode = sink.records[0]?.findings?.[0]?.kind === 'n-plus-one' && after === 2 ? 0 : 1;
}
main().catch((error: { code?: string }) => {
  if (error.code !== 'ECONNREFUSED') throw error;
  console.log('No PostgreSQL: docker run --rm -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres:17');
  process.exitCode = process.env['CI'] ? 1 : 0;
});
