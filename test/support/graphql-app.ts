import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  type CanActivate,
  type DynamicModule,
  type ExecutionContext,
  ForbiddenException,
  Injectable,
  UseGuards,
} from '@nestjs/common';
import {
  Args,
  Context,
  Field,
  GqlExecutionContext,
  GraphQLModule,
  Int,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import DataLoader from 'dataloader';
import { type Client, createClient } from 'graphql-ws';
import { Pool } from 'pg';
import { WebSocket } from 'ws';
import { type AsyncContextOptions, ContextService, QueryBudget } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from './database';
import { type Platform, startApp, type TestApp } from './platforms';

export interface GraphqlStack {
  readonly name: string;
  readonly platform: Platform;
  readonly driver: 'apollo' | 'mercurius';
}

export const stacks: readonly GraphqlStack[] = [
  { name: 'Apollo on Express', platform: 'express', driver: 'apollo' },
  { name: 'Apollo on Fastify', platform: 'fastify', driver: 'apollo' },
  { name: 'Mercurius on Fastify', platform: 'fastify', driver: 'mercurius' },
];

/** What a resolver finds in the context of its operation, whatever has brought it. */
interface GqlContext {
  readonly userId: string;
  readonly customers: DataLoader<number, string>;
}

const pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 8 });
export const closePool = (): Promise<void> => pool.end();

/** Statements that were sent, by what has asked for them. */
export const sent = new Map<string, number>();
export const allSent = (): number => [...sent.values()].reduce((all, one) => all + one, 0);

async function ask(what: string, id: number): Promise<number> {
  sent.set(what, (sent.get(what) ?? 0) + 1);
  const { rows } = await pool.query<{ id: number }>(`SELECT $1::int AS id, 1 AS "${what}"`, [id]);
  return rows[0]!.id;
}

/** Events for whoever listens now, each in a queue of its own. */
class Channel<T> {
  readonly #listeners = new Set<(value: T) => void>();

  get size(): number {
    return this.#listeners.size;
  }

  publish(value: T): void {
    for (const listener of this.#listeners) listener(value);
  }

  iterate(): AsyncIterableIterator<T> {
    const queue: T[] = [];
    const waiting: ((result: IteratorResult<T>) => void)[] = [];
    const listener = (value: T): void => {
      const next = waiting.shift();
      if (next === undefined) queue.push(value);
      else next({ done: false, value });
    };
    this.#listeners.add(listener);
    const iterator: AsyncIterableIterator<T> = {
      next: () => {
        const value = queue.shift();
        if (value !== undefined) return Promise.resolve({ done: false, value });
        return new Promise(resolve => waiting.push(resolve));
      },
      return: () => {
        this.#listeners.delete(listener);
        for (const next of waiting) next({ done: true, value: undefined });
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }
}

export const placed = new Channel<{ orderPlaced: { id: number } }>();

/** Lets the query that waits go on, once it is there. */
export const gate: { open: (() => void) | undefined } = { open: undefined };

/** What has come to the guards, in their order. */
export const guarded: (string | undefined)[] = [];

@Injectable()
class UserGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  async canActivate(execution: ExecutionContext): Promise<boolean> {
    const { userId } = GqlExecutionContext.create(execution).getContext<GqlContext>();
    this.context.setUser({ id: userId });
    await ask('guard', 1);
    guarded.push(this.context.requestId);
    return true;
  }
}

@Injectable()
class NoGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    await ask('no guard', 1);
    throw new ForbiddenException();
  }
}

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    await new Promise(resolve => setTimeout(resolve, 30));
    return true;
  }
}

@ObjectType()
export class Order {
  @Field(() => Int)
  id!: number;

  @Field(() => Int, { nullable: true })
  items?: number;

  @Field(() => String, { nullable: true })
  customer?: string;

  @Field(() => String, { nullable: true })
  requestId?: string;

  @Field(() => String, { nullable: true })
  broken?: string;
}

@Resolver(() => Order)
export class OrdersResolver {
  constructor(private readonly context: ContextService) {}

  @Query(() => [Order])
  @UseGuards(UserGuard)
  @QueryBudget(40)
  async orders(@Args('count', { type: () => Int }) count: number): Promise<Order[]> {
    await ask('orders', count);
    return Array.from({ length: count }, (_, id) => ({ id }));
  }

  @Query(() => Int)
  @UseGuards(SlowGuard)
  @QueryBudget(2)
  slow(): Promise<number> {
    return ask('slow', 1);
  }

  @Query(() => Int)
  @QueryBudget(1)
  fast(): Promise<number> {
    return ask('fast', 1);
  }

  @Query(() => Int, { name: 'refused', nullable: true })
  @UseGuards(NoGuard)
  notForYou(): number {
    return 1;
  }

  @Query(() => String, { nullable: true })
  async who(): Promise<string | undefined> {
    await ask('who', 1);
    return (this.context.user as { id?: string } | undefined)?.id;
  }

  @Query(() => Int)
  async wait(): Promise<number> {
    await new Promise<void>(resolve => void (gate.open = resolve));
    return ask('wait', 1);
  }

  @Mutation(() => Int)
  async placeOrder(@Args('id', { type: () => Int }) id: number): Promise<number> {
    await ask('placeOrder', id);
    placed.publish({ orderPlaced: { id } });
    return id;
  }

  @Subscription(() => Order, {
    filter: (payload: { orderPlaced: Order }, { from }: { from: number }) =>
      from < 100
        ? payload.orderPlaced.id >= from
        : ask('filter', 1).then(() => payload.orderPlaced.id >= from),
  })
  @UseGuards(UserGuard)
  async orderPlaced(
    @Args('from', { type: () => Int }) _from: number,
  ): Promise<AsyncIterableIterator<unknown>> {
    await ask('subscribe', 1);
    return placed.iterate();
  }

  @ResolveField(() => Int)
  items(@Parent() order: Order): Promise<number> {
    return ask('items', order.id);
  }

  @ResolveField(() => String)
  customer(@Parent() order: Order, @Context() { customers }: GqlContext): Promise<string> {
    return customers.load(order.id);
  }

  @ResolveField(() => String)
  async requestId(): Promise<string | undefined> {
    await ask('requestId', 1);
    return this.context.requestId;
  }

  @ResolveField(() => String)
  async broken(): Promise<string> {
    await ask('broken', 1);
    throw new RangeError('no such field');
  }
}

async function makeContext(userId: string | undefined): Promise<GqlContext> {
  await ask('context', 1);
  return {
    userId: userId ?? 'nobody',
    customers: new DataLoader(async ids => {
      await ask('customers', 1);
      return ids.map(id => `customer ${id}`);
    }),
  };
}

interface ArrivingRequest {
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** What Apollo is given to make a context of: Express's `{ req }`, Fastify's request, graphql-ws' connection. */
interface ApolloArrival {
  readonly req?: ArrivingRequest;
  readonly headers?: ArrivingRequest['headers'];
  readonly connectionParams?: { readonly user?: string };
}

function apollo(): DynamicModule {
  return GraphQLModule.forRoot<ApolloDriverConfig>({
    driver: ApolloDriver,
    autoSchemaFile: true,
    allowBatchedHttpRequests: true,
    csrfPrevention: false,
    context: ({ req, headers, connectionParams }: ApolloArrival) =>
      makeContext(connectionParams?.user ?? (req?.headers ?? headers)?.['x-user']),
    subscriptions: { 'graphql-ws': { onConnect: () => ask('onConnect', 1).then(() => true) } },
  });
}

function mercurius(): DynamicModule {
  return GraphQLModule.forRoot<MercuriusDriverConfig>({
    driver: MercuriusDriver,
    autoSchemaFile: true,
    allowBatchedQueries: true,
    context: (request: ArrivingRequest) => makeContext(request.headers['x-user']),
    subscription: {
      fullWsTransport: true,
      onConnect: async ({ payload }: { payload?: { user?: string } }) => {
        await ask('onConnect', 1);
        return { ...(await makeContext(payload?.user)) };
      },
    },
  } as MercuriusDriverConfig);
}

export function startGraphql(stack: GraphqlStack, options: AsyncContextOptions = {}): Promise<TestApp> {
  return startApp({
    ...options,
    platform: stack.platform,
    imports: [stack.driver === 'apollo' ? apollo() : mercurius()],
    providers: [OrdersResolver],
  });
}

export interface Answer {
  readonly data?: Record<string, unknown> | null;
  readonly errors?: readonly { readonly message: string }[];
}

/** Sends something over HTTP. */
export async function post<T = Answer>(
  test: TestApp,
  body: unknown,
  user = 'ann',
): Promise<{ answer: T; requestId: string | null; status: number }> {
  const response = await fetch(`${test.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-user': user },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as T;
  return { answer, requestId: response.headers.get('x-request-id'), status: response.status };
}

/** A client with one connection. */
export function connect(test: TestApp, user = 'ann'): Client {
  return createClient({
    url: `${test.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    connectionParams: { user },
    onNonLazyError: () => undefined,
  });
}

/** The one answer of an operation over WebSocket. */
export function runOver(client: Client, query: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let answer: Answer | undefined;
    client.subscribe(
      { query },
      {
        next: result => void (answer = result as Answer),
        error: reject,
        complete: () => (answer === undefined ? reject(new Error('no answer')) : resolve(answer)),
      },
    );
  });
}

/** Collects the answers to a subscription. */
export function subscribe(client: Client, query: string): { answers: Answer[]; leave: () => void } {
  const answers: Answer[] = [];
  const leave = client.subscribe(
    { query },
    {
      next: result => void answers.push(result as Answer),
      error: () => undefined,
      complete: () => undefined,
    },
  );
  return { answers, leave };
}
