import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { type CanActivate, Injectable, UseGuards } from '@nestjs/common';
import {
  Args,
  Field,
  GraphQLModule,
  Int,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
} from '@nestjs/graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget } from 'nestjs-async-context';
import { platforms, startApp, type TestApp } from '../support/platforms';

const seen: (string | undefined)[] = [];

@Injectable()
class SeeingGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(): boolean {
    seen.push(this.context.requestId);
    return true;
  }
}

@ObjectType()
class Order {
  @Field(() => Int)
  id!: number;

  @Field(() => String, { nullable: true })
  requestId?: string;
}

@Resolver(() => Order)
class OrdersResolver {
  constructor(private readonly context: ContextService) {}

  @Query(() => [Order])
  @UseGuards(SeeingGuard)
  @QueryBudget(10)
  orders(@Args('count', { type: () => Int }) count: number): Order[] {
    return Array.from({ length: count }, (_, id) => ({ id }));
  }

  @Query(() => Int)
  @QueryBudget(1)
  cheap(): number {
    this.context.record({ system: 'test', collection: 'orders', durationMs: 0 });
    return 1;
  }

  @Mutation(() => Int)
  fail(): never {
    throw new RangeError('no');
  }

  @ResolveField(() => String)
  async requestId(@Parent() order: Order): Promise<string | undefined> {
    await new Promise(resolve => setTimeout(resolve, order.id % 3));
    this.context.record({ system: 'test', collection: 'items', durationMs: 0 });
    return this.context.requestId;
  }
}

describe.each(platforms)('GraphQL operations on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({
      platform,
      imports: [
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          autoSchemaFile: true,
          fieldResolverEnhancers: ['interceptors'],
        }),
      ],
      providers: [OrdersResolver],
    });
  });
  afterAll(() => test.close());

  async function run(query: string): Promise<{ data: Record<string, unknown>; requestId: string | null }> {
    const response = await fetch(`${test.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    });
    const { data } = (await response.json()) as { data: Record<string, unknown> };
    return { data, requestId: response.headers.get('x-request-id') };
  }

  it('run in the context of their request, guards, resolvers and fields alike', async () => {
    test.sink.clear();
    seen.length = 0;
    const answers = await Promise.all(
      [5, 6, 7].map(count => run(`{ orders(count: ${count}) { id requestId } }`)),
    );
    for (const [i, { data, requestId }] of answers.entries()) {
      const orders = data['orders'] as Order[];
      expect(orders).toHaveLength(5 + i);
      expect(new Set(orders.map(order => order.requestId))).toEqual(new Set([requestId]));
    }
    expect([...seen].sort()).toEqual(answers.map(({ requestId }) => requestId).sort());
    const records = await test.records(3);
    expect(records.map(({ queries }) => queries.count).sort()).toEqual([5, 6, 7]);
    expect(records[0]).toMatchObject({
      kind: 'graphql',
      handler: 'OrdersResolver.orders',
      route: 'Query.orders',
      status: 200,
      method: 'POST',
    });
  });

  it('are charged with the queries of a field that fans out', async () => {
    test.sink.clear();
    await run('{ orders(count: 11) { requestId } }');
    const [record] = await test.records(1);
    expect(record!.breaches).toEqual([
      { dimension: 'queries', used: 11, limit: 10, from: '@QueryBudget on OrdersResolver.orders' },
    ]);
  });

  it('may cost what the most expensive of their root fields may', async () => {
    test.sink.clear();
    await run('{ cheap orders(count: 9) { requestId } }');
    const [record] = await test.records(1);
    expect(record).toMatchObject({ handler: 'OrdersResolver.cheap', queries: { count: 10 }, breaches: [] });
  });

  it('record the class of an error that a resolver throws', async () => {
    test.sink.clear();
    await run('mutation { fail }');
    const [record] = await test.records(1);
    expect(record).toMatchObject({ route: 'Mutation.fail', error: 'RangeError', status: 200 });
  });
});
