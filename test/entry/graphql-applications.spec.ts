import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Injectable, Module, Scope, UnauthorizedException, UseGuards } from '@nestjs/common';
import {
  Args,
  Context,
  GraphQLModule,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { connect, post, runOver, subscribe } from '../support/graphql-app';
import { type Platform, startApp, type TestApp, until } from '../support/platforms';

const typeDefs = `
  type Part { name: String lazy: String eager: String asked: String }
  type Query { parts(count: Int): [Part] part: Part }
  type Subscription { made(count: Int): Part refusedMade: Part }
`;

@Injectable()
class RefusingGuard {
  async canActivate(): Promise<boolean> {
    throw new UnauthorizedException();
  }
}

/** An entity whose properties ask the database when they are read or called. */
class Part {
  constructor(
    private readonly context: ContextService,
    readonly name: string,
  ) {}

  get lazy(): Promise<string> {
    ask(this.context);
    return Promise.resolve('lazy');
  }

  eager(): string {
    ask(this.context);
    return 'eager';
  }
}

let asked = 0;
function ask(context: ContextService): void {
  asked += 1;
  context.record({ system: 'test', collection: 'parts', durationMs: 0 });
}

@Resolver('Part')
class PartsResolver {
  constructor(private readonly context: ContextService) {}

  @Query('parts')
  async parts(@Args('count') count: number): Promise<Part[]> {
    ask(this.context);
    return Array.from({ length: count }, (_, i) => new Part(this.context, `part ${i}`));
  }

  /** A query builder: it asks when somebody waits for it, once for each that does. */
  @ResolveField('asked')
  asked(@Parent() { name }: Part): PromiseLike<string> {
    return {
      then: (resolve, reject) => {
        ask(this.context);
        return Promise.resolve(name).then(resolve, reject);
      },
    };
  }

  @Subscription('made')
  async *made(@Args('count') count: number): AsyncGenerator<{ made: Part }> {
    for (let i = 0; i < count; i += 1) {
      await new Promise(resolve => setTimeout(resolve, 1));
      yield { made: new Part(this.context, `part ${i}`) };
    }
  }

  @Subscription('refusedMade')
  @UseGuards(RefusingGuard)
  refusedMade(): AsyncIterableIterator<unknown> {
    throw new Error('not reached');
  }
}

@Resolver('Part')
class PartResolver {
  readonly #context: ContextService;

  constructor(context: ContextService) {
    this.#context = context;
  }

  @Query('part')
  part(@Context() _context: object): Part {
    ask(this.#context);
    return new Part(this.#context, 'one');
  }
}
Injectable({ scope: Scope.REQUEST })(PartResolver);

const drivers: { name: string; platform: Platform; isApollo: boolean }[] = [
  { name: 'Apollo on Express', platform: 'express', isApollo: true },
  { name: 'Apollo on Fastify', platform: 'fastify', isApollo: true },
  { name: 'Mercurius on Fastify', platform: 'fastify', isApollo: false },
];

let test: TestApp;
afterEach(async () => {
  asked = 0;
  await test.close();
});

const recordOf = (handler: string, more: (record: CostRecord) => boolean = () => true): Promise<CostRecord> =>
  until(
    () => test.sink.records.find(record => record.handler === handler && more(record)),
    `record of ${handler}`,
  );

describe.each(drivers)('A schema of type definitions: $name', ({ platform, isApollo }) => {
  const start = async (): Promise<void> => {
    test = await startApp({
      platform,
      imports: [
        isApollo
          ? GraphQLModule.forRoot<ApolloDriverConfig>({
              driver: ApolloDriver,
              typeDefs,
              csrfPrevention: false,
              subscriptions: { 'graphql-ws': true },
            })
          : GraphQLModule.forRoot<MercuriusDriverConfig>({
              driver: MercuriusDriver,
              typeDefs,
              subscription: { fullWsTransport: true },
            }),
      ],
      providers: [PartsResolver, PartResolver],
    });
  };

  it.each(['HTTP', 'WebSocket'])('charges what properties and lazy queries ask, over %s', async transport => {
    await start();
    const query = '{ parts(count: 5) { name lazy eager asked } }';
    const client = connect(test);
    const { data } =
      transport === 'HTTP' ? (await post(test, { query })).answer : await runOver(client, query);
    expect(data!['parts']).toHaveLength(5);
    expect((data!['parts'] as object[])[2]).toEqual({
      name: 'part 2',
      lazy: 'lazy',
      eager: 'eager',
      asked: 'part 2',
    });
    const record = await recordOf('PartsResolver.parts');
    expect(record.queries.count).toBe(16);
    expect(asked).toBe(16);
    await client.dispose();
  });

  it('has resolvers that are made for each operation', async () => {
    await start();
    await post(test, { query: '{ part { lazy } }' });
    expect(await recordOf('PartResolver.part')).toMatchObject({ queries: { count: 2 } });
  });

  it('gives events to subscriptions that have no resolve function', async () => {
    await start();
    const client = connect(test);
    const { answers } = subscribe(client, 'subscription { made(count: 3) { name lazy eager asked } }');
    await until(() => answers.length === 3, 'three events');
    expect(answers[1]!.data).toEqual({
      made: { name: 'part 1', lazy: 'lazy', eager: 'eager', asked: 'part 1' },
    });
    const operation = await recordOf(
      'PartsResolver.made',
      ({ parentRequestId }) => parentRequestId === undefined,
    );
    const events = await until(() => {
      const stackBoundary = test.sink.records.filter(
        record => record.parentRequestId === operation.requestId,
      );
      return stackBoundary.length === 3 && stackBoundary;
    }, 'three events');
    expect(events.map(({ queries }) => queries.count)).toEqual([3, 3, 3]);
    expect(asked).toBe(9);
    await client.dispose();
  });

  it('names a subscription that a guard refuses', async () => {
    await start();
    const client = connect(test);
    subscribe(client, 'subscription { refusedMade { name } }');
    const record = await recordOf('PartsResolver.refusedMade');
    expect(record).toMatchObject({ route: 'Subscription.refusedMade', error: 'UnauthorizedException' });
    await client.dispose();
  });
});

describe('Hooks of an application', () => {
  it('of graphql-ws are called as before, inside the operation', async () => {
    const calls: string[] = [];
    const ids = new Set<string | undefined>();
    let context: ContextService | undefined;
    const note = (name: string) => (): undefined => {
      calls.push(name);
      ids.add(context?.requestId);
      return undefined;
    };
    test = await startApp({
      imports: [
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          typeDefs,
          subscriptions: {
            // Nest's type knows few of the options that it hands on.
            'graphql-ws': {
              // One object for all operations of a connection.
              context: ({ extra }: { extra: object }) => {
                note('context')();
                return extra;
              },
              onSubscribe: note('onSubscribe'),
              onOperation: note('onOperation'),
              onNext: (
                _connection: unknown,
                _id: unknown,
                _payload: unknown,
                _args: unknown,
                result: object,
              ) => {
                note('onNext')();
                return { ...result, extensions: { marked: true } };
              },
              onError: note('onError'),
            } as object,
          },
        }),
      ],
      providers: [PartsResolver, PartResolver],
    });
    context = test.app.get(ContextService);
    const client = connect(test);
    await runOver(client, '{ __typename }');
    test.sink.clear();
    calls.length = 0;
    ids.clear();
    const query = '{ parts(count: 2) { lazy } }';
    expect(await runOver(client, query)).toMatchObject({ extensions: { marked: true } });
    const record = await recordOf('PartsResolver.parts');
    expect(calls).toEqual(['onSubscribe', 'context', 'onOperation', 'onNext']);
    expect(ids).toEqual(new Set([record.requestId, undefined]));

    // Many at once, over the one context of the connection.
    test.sink.clear();
    const counts = Array.from({ length: 20 }, (_, i) => 1 + (i % 6));
    await Promise.all(counts.map(count => runOver(client, `{ parts(count: ${count}) { lazy asked } }`)));
    const records = await test.records(20);
    expect(records.map(({ queries }) => queries.count).toSorted((a, b) => a - b)).toEqual(
      counts.map(count => 1 + 2 * count).toSorted((a, b) => a - b),
    );

    test.sink.clear();
    await expect(runOver(client, '{ nonsense }')).rejects.toBeDefined();
    expect((await test.records(1))[0]).toMatchObject({ kind: 'graphql', error: 'GraphQLError' });
    expect(calls).toContain('onError');

    // The text of an operation that cannot be parsed ends the connection.
    test.sink.clear();
    await expect(runOver(client, '{ parts(')).rejects.toBeDefined();
    expect((await test.records(1))[0]).toMatchObject({ kind: 'graphql' });
  });

  it('of Apollo are called as before; a persisted query is an operation like others', async () => {
    const started: string[] = [];
    test = await startApp({
      imports: [
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          typeDefs,
          csrfPrevention: false,
          plugins: [
            {
              async requestDidStart({ request }) {
                started.push(request.query ?? 'persisted');
              },
            },
          ],
        }),
      ],
      providers: [PartsResolver, PartResolver],
    });
    const query = '{ parts(count: 3) { lazy } }';
    const extensions = {
      persistedQuery: { version: 1, sha256Hash: createHash('sha256').update(query).digest('hex') },
    };
    const { answer } = await post(test, { extensions });
    expect(answer.errors?.[0]?.message).toBe('PersistedQueryNotFound');
    await post(test, { query, extensions });
    const { answer: persisted } = await post(test, { extensions });
    expect(persisted.data!['parts']).toHaveLength(3);
    const records = await test.records(3);
    expect(records.map(({ handler, queries }) => [handler, queries.count])).toEqual([
      [undefined, 0],
      ['PartsResolver.parts', 4],
      ['PartsResolver.parts', 4],
    ]);
    expect(started).toEqual(['persisted', query, 'persisted']);
  });
});

describe('An application with two GraphQL modules', () => {
  it('names operations by the resolvers that each includes', async () => {
    @Resolver('Part')
    class OtherResolver {
      @Query('part')
      other(): { name: string } {
        return { name: 'other' };
      }
    }
    @Module({ providers: [PartResolver] })
    class OneModule {}
    @Module({ providers: [OtherResolver] })
    class TwoModule {}
    const types = 'type Part { name: String } type Query { part: Part }';
    const graphql = (path: string, module: unknown) =>
      GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        typeDefs: types,
        path,
        include: [module as never],
      });
    test = await startApp({
      imports: [OneModule, TwoModule, graphql('/graphql', OneModule), graphql('/two', TwoModule)],
    });
    for (const path of ['graphql', 'two']) {
      await fetch(`${test.url}/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query: '{ part { name } }' }),
      });
    }
    const records = await test.records(2);
    expect(records.map(({ handler }) => handler)).toEqual(['PartResolver.part', 'OtherResolver.other']);
  });
});

describe('Mercurius that compiles its queries', () => {
  it('charges and names compiled operations', async () => {
    test = await startApp({
      platform: 'fastify',
      imports: [
        GraphQLModule.forRoot<MercuriusDriverConfig>({
          driver: MercuriusDriver,
          typeDefs,
          jit: 1,
          subscription: { fullWsTransport: true },
        }),
      ],
      providers: [PartsResolver, PartResolver],
    });
    const client = connect(test);
    for (let i = 0; i < 4; i += 1) await post(test, { query: '{ parts(count: 2) { asked } }' });
    for (let i = 0; i < 4; i += 1) await runOver(client, '{ parts(count: 3) { asked } }');
    await until(
      () => test.sink.records.filter(({ handler }) => handler === 'PartsResolver.parts').length === 8,
      '8 records',
    );
    const named = test.sink.records.filter(({ handler }) => handler === 'PartsResolver.parts');
    expect(named.map(({ queries }) => queries.count)).toEqual([3, 3, 3, 3, 4, 4, 4, 4]);
    await client.dispose();
  });
});
