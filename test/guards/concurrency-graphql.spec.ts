import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { GraphQLModule, Int, Query, Resolver } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { Concurrency, ProcessFigures } from 'nestjs-async-context';
import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import { startApp, type TestApp, until } from '../support/platforms';

const stacks = [
  { name: 'Apollo on Express', platform: 'express', isApollo: true },
  { name: 'Apollo on Fastify', platform: 'fastify', isApollo: true },
  { name: 'Mercurius on Fastify', platform: 'fastify', isApollo: false },
] as const;

let running = 0;
const finishes: (() => void)[] = [];

@Resolver()
@Concurrency({ limit: 1 })
class ReportsResolver {
  @Query(() => Int)
  one(): Promise<number> {
    return this.#work();
  }

  @Query(() => Int)
  two(): Promise<number> {
    return this.#work();
  }

  async #work(): Promise<number> {
    running += 1;
    await new Promise<void>(resolve => finishes.push(resolve));
    running -= 1;
    return 1;
  }
}

const finishAll = (): void => {
  for (const finish of finishes.splice(0)) finish();
};

interface Answer {
  readonly data?: unknown;
  readonly errors?: readonly { readonly message: string }[];
}

async function query(test: TestApp, text: string): Promise<{ answer: Answer; retryAfter: string | null }> {
  const response = await fetch(`${test.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: text }),
  });
  return { answer: (await response.json()) as Answer, retryAfter: response.headers.get('retry-after') };
}

describe.each(stacks)('@Concurrency() of resolvers, $name', ({ platform, isApollo }) => {
  const start = (): Promise<TestApp> =>
    startApp({
      platform,
      imports: [
        isApollo
          ? GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true })
          : GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true }),
      ],
      providers: [ReportsResolver],
    });

  it('takes one slot for an operation, however many of its fields ask', async () => {
    const test = await start();
    const first = query(test, '{ one two }');
    await until(() => running === 2, 'both fields');
    const second = await query(test, '{ one }');
    expect(second.answer.errors?.[0]?.message).toContain('Too many concurrent requests');
    expect(second.retryAfter).toBe('1');
    finishAll();
    expect((await first).answer).toEqual({ data: { one: 1, two: 1 } });
    expect(test.app.get(ProcessFigures).refusals).toMatchObject([
      { by: 'concurrency', reason: 'busy', handler: 'ReportsResolver.one', count: 1 },
    ]);
    await test.close();
  });

  it('holds the slot of an operation that works on when its client has left', async () => {
    const test = await start();
    const sent = request(`${test.url}/graphql?query={one}`, {
      headers: { 'apollo-require-preflight': 'yes' },
      agent: false,
    });
    sent.on('error', () => undefined).end();
    await until(() => running === 1, 'the field');
    sent.destroy();
    await test.records(1);
    expect((await query(test, '{ two }')).answer.errors).toHaveLength(1);
    finishAll();
    await until(() => running === 0, 'end');
    const next = until(() => running === 1, 'another one').then(finishAll);
    let answer = await query(test, '{ two }');
    while (answer.answer.errors !== undefined) answer = await query(test, '{ two }');
    await next;
    expect(answer.answer).toEqual({ data: { two: 1 } });
    await test.close();
  });
});
