import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Injectable, Req } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  AsyncContextError,
  ContextService,
  type ContextUser,
  createContextKey,
  RunInContext,
} from 'nestjs-async-context';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const TENANT = createContextKey<string>('tenant');
const REGION = createContextKey<string>('region');
const NAME = createContextKey('name', { schema: z.string().trim().min(3) });
const LATER = createContextKey('later', { schema: z.string().refine(async () => false) });
const THROWING = createContextKey<string>('throwing', {
  schema: {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate(value) {
        throw new Error(String(value));
      },
    },
  },
});

const user = (id: unknown): ContextUser => ({ id }) as ContextUser;

@Injectable()
class Job {
  constructor(private readonly context: ContextService) {}

  @RunInContext({ values: [[NAME, ' jane ']] })
  run(): string | undefined {
    return this.context.get(NAME);
  }

  @RunInContext({ values: [[NAME, '']] })
  refused(): void {}
}

describe('the schema of a key', () => {
  let test: TestApp;
  let context: ContextService;
  beforeAll(async () => {
    test = await startApp({ providers: [Job] });
    context = test.app.get(ContextService);
  });
  afterAll(() => test.close());

  const errorOf = (work: () => unknown): AsyncContextError => {
    try {
      work();
    } catch (error) {
      if (error instanceof AsyncContextError) return error;
    }
    throw new Error('nothing was thrown');
  };

  it('takes and transforms what is set', () => {
    context.run({}, () => {
      context.set(NAME, '  jane ');
      expect(context.get(NAME)).toBe('jane');
    });
  });

  it.each([
    ['does not take', NAME, '4711'.slice(0, 2)],
    ['throws on', THROWING, '4711'],
  ])('refuses what it %s, with the name of the key and without the value', (_, key, value) => {
    context.run({}, () => {
      const { code, message } = errorOf(() => context.set(key, value));
      expect(code).toBe('ASYNC_CONTEXT_INVALID_VALUE');
      expect(message).toContain(`"${key.name}"`);
      expect(message).not.toContain('47');
      expect(context.has(key)).toBe(false);
    });
  });

  it('checks the values that a unit of work begins with, and opens none for others', async () => {
    expect(context.run({ values: [[NAME, ' jane ']] }, () => context.get(NAME))).toBe('jane');
    const before = (await test.records(1)).length;
    expect(errorOf(() => context.run({ values: [[NAME, '']] }, () => 1)).code).toBe(
      'ASYNC_CONTEXT_INVALID_VALUE',
    );
    context.run({ requestId: 'after' }, () => undefined);
    await until(() => test.sink.records.find(({ requestId }) => requestId === 'after'), 'record');
    expect(test.sink.records.slice(before).filter(({ error }) => error !== undefined)).toEqual([]);
  });

  it('checks the values of @RunInContext()', () => {
    const job = test.app.get(Job);
    expect(job.run()).toBe('jane');
    expect(errorOf(() => job.refused()).code).toBe('ASYNC_CONTEXT_INVALID_VALUE');
  });

  it('that answers with a promise is not asked', async () => {
    context.run({}, () => {
      context.set(LATER, 'anything');
      expect(context.get(LATER)).toBe('anything');
    });
    await sleep(5);
  });
});

describe('run({ inherit })', () => {
  let test: TestApp;
  let context: ContextService;
  beforeAll(async () => {
    test = await startApp({});
    context = test.app.get(ContextService);
  });
  afterAll(() => test.close());

  const seen = (): unknown[] => [
    context.user,
    context.get(TENANT),
    context.get(REGION),
    context.get('plain'),
  ];
  const within = <T>(work: () => T): T =>
    context.run(
      {
        user: user(1),
        values: [
          [TENANT, 'acme'],
          [REGION, 'eu'],
          ['plain', 1],
        ],
      },
      work,
    );

  it.each<[string, Parameters<ContextService['run']>[0], unknown[]]>([
    ['nothing by default', {}, [undefined, undefined, undefined, undefined]],
    ['nothing', { inherit: false }, [undefined, undefined, undefined, undefined]],
    ['all', { inherit: true }, [{ id: 1 }, 'acme', 'eu', 1]],
    ['the user', { inherit: ['user'] }, [{ id: 1 }, undefined, undefined, undefined]],
    ['some keys', { inherit: [REGION, 'plain'] }, [undefined, undefined, 'eu', 1]],
    [
      'all but what the seed says',
      { inherit: true, user: user(2), values: [[TENANT, 'other']] },
      [{ id: 2 }, 'other', 'eu', 1],
    ],
  ])('takes over %s', (_, seed, expected) => {
    expect(within(() => context.run(seed, seen))).toEqual(expected);
  });

  it('is a copy: what is set inside stays inside, and what is set outside later stays outside', () => {
    within(() => {
      const inside = context.run({ inherit: true }, () => {
        context.set(TENANT, 'inner');
        context.setUser(user(9));
        return context.snapshot();
      });
      expect(seen()).toEqual([{ id: 1 }, 'acme', 'eu', 1]);
      expect(inside).toBeTypeOf('function');
    });
  });

  it('takes over nothing outside of any unit of work, and no user whose getter throws', () => {
    expect(context.run({ inherit: true }, seen)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

@Controller()
class LateController {
  static late: Promise<unknown[]> | undefined;

  constructor(private readonly context: ContextService) {}

  @Get('late')
  late(@Req() request: { user?: unknown; raw?: { user?: unknown } }): string {
    request.user = { id: 5 };
    this.context.set(TENANT, 'acme');
    LateController.late = new Promise(resolve =>
      this.context.onClose(() => {
        setTimeout(() => resolve([this.context.user, this.context.get(TENANT)]), 20);
      }),
    );
    return 'ok';
  }
}

for (const platform of platforms) {
  describe(`keepAfterClose on ${platform}`, () => {
    it.each([
      [true, [{ id: 5 }, 'acme']],
      [false, [undefined, undefined]],
    ])('%s: user and values of work after the response', async (keepAfterClose, expected) => {
      const test = await startApp({ platform, keepAfterClose, controllers: [LateController] });
      await fetch(`${test.url}/late`);
      expect(await LateController.late).toEqual(expected);
      await test.close();
    });
  });
}

it('keeps user and values for a bound callback with keepAfterClose', async () => {
  const test = await startApp({ keepAfterClose: true });
  const context = test.app.get(ContextService);
  const bound = context.run({ user: user(1), values: [[TENANT, 'acme']] }, () =>
    context.bind(() => [context.user, context.get(TENANT)]),
  );
  await test.records(1);
  expect(bound()).toEqual([{ id: 1 }, 'acme']);
  await test.close();
});
