import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AsyncLocalStorage } from 'node:async_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  AsyncContextError,
  AsyncContextModule,
  contextLogFields,
  ContextService,
  type CostRecord,
  createContextKey,
  MemorySink,
} from 'nestjs-async-context';
import { LogLines, startApp, type TestApp, until } from '../support/platforms';

declare module 'nestjs-async-context' {
  interface ContextUser {
    id: number | string;
    name?: string;
  }
}

const TENANT = createContextKey<string>('tenant');
const OTHER_TENANT = createContextKey<string>('tenant');

@Controller()
class EmptyController {
  @Get('user')
  user(): string {
    return 'user';
  }
}

describe('ContextService', () => {
  let test: TestApp;
  let context: ContextService;

  beforeAll(async () => {
    test = await startApp({ controllers: [EmptyController] });
    context = test.app.get(ContextService);
  });
  afterAll(() => test.close());

  describe('outside of any unit of work', () => {
    it('has nothing', () => {
      expect(context.isActive).toBe(false);
      for (const name of [
        'requestId',
        'traceId',
        'spanId',
        'user',
        'kind',
        'handler',
        'route',
        'startedAt',
        'elapsedMs',
        'cost',
      ] as const) {
        expect(context[name]).toBeUndefined();
      }
      expect(context.get(TENANT)).toBeUndefined();
      expect(context.has(TENANT)).toBe(false);
      expect(context.delete(TENANT)).toBe(false);
    });

    it.each([
      ['requireRequestId', () => context.requireRequestId()],
      ['requireUser', () => context.requireUser()],
      ['set', () => context.set(TENANT, 'acme')],
      ['setUser', () => context.setUser({ id: 1 })],
      ['onClose', () => context.onClose(() => undefined)],
    ])('%s throws ASYNC_CONTEXT_MISSING and says what to do', (name, call) => {
      expect(call).toThrow(AsyncContextError);
      expect(call).toThrow(new RegExp(`ASYNC_CONTEXT_MISSING: .*${name}.*contextService\\.run`));
    });

    it('ignores a query that was measured elsewhere', () => {
      expect(() => context.record({ system: 'x', durationMs: 1 })).not.toThrow();
    });

    it('gives back the very function to bind', () => {
      const fn = (): void => undefined;
      expect(context.bind(fn)).toBe(fn);
    });
  });

  describe('run()', () => {
    it('gives the seed to the work and its result back', () => {
      const result = context.run(
        {
          requestId: 'job-1',
          handler: 'Nightly.run',
          kind: 'job',
          user: { id: 7 },
          values: [
            [TENANT, 'acme'],
            ['plain', 1],
          ],
        },
        () => ({
          id: context.requireRequestId(),
          handler: context.handler,
          kind: context.kind,
          user: context.requireUser().id,
          tenant: context.get(TENANT),
          plain: context.get<number>('plain'),
          started: context.startedAt instanceof Date,
          elapsed: (context.elapsedMs ?? -1) >= 0,
        }),
      );
      expect(result).toEqual({
        id: 'job-1',
        handler: 'Nightly.run',
        kind: 'job',
        user: 7,
        tenant: 'acme',
        plain: 1,
        started: true,
        elapsed: true,
      });
      expect(context.isActive).toBe(false);
    });

    it.each([
      ['a'.repeat(200), true],
      ['a'.repeat(201), false],
      ['', false],
      ['a b', false],
    ])('takes the id %j: %j', (requestId, accepted) => {
      expect(context.run({ requestId }, () => context.requestId) === requestId).toBe(accepted);
    });

    it('passes an error on, the very one, and records its class', async () => {
      const error = new RangeError('secret text');
      await expect(context.run({ handler: 'failing' }, () => Promise.reject(error))).rejects.toBe(error);
      expect(() =>
        context.run({ handler: 'failing' }, () => {
          throw error;
        }),
      ).toThrow(error);
      const records = await until(() => {
        const failing = test.sink.records.filter(({ handler }) => handler === 'failing');
        return failing.length === 2 && failing;
      }, 'two records');
      expect(records.map(record => record.error)).toEqual(['RangeError', 'RangeError']);
      expect(JSON.stringify(records)).not.toContain('secret text');
    });

    it('starts a lazy thenable inside the context', async () => {
      const lazy = { then: (resolve: (id: string | undefined) => void) => resolve(context.requestId) };
      const id = await context.run({ requestId: 'lazy' }, () => lazy as PromiseLike<string | undefined>);
      expect(id).toBe('lazy');
    });

    it('gives back a result that throws when it is looked at', () => {
      const proxy = new Proxy(
        {},
        {
          get: (_target, name) => {
            throw new Error(`no ${String(name)}`);
          },
        },
      );
      expect(context.run({}, () => proxy) === proxy).toBe(true);
    });

    it('names the unit of work that began it', async () => {
      context.run({ requestId: 'outer' }, () => context.run({ requestId: 'inner' }, () => undefined));
      const [inner, outer] = await Promise.all(['inner', 'outer'].map(id => recordOf(test, id)));
      expect(inner).toMatchObject({ parentRequestId: 'outer' });
      expect(outer).not.toHaveProperty('parentRequestId');
    });

    it('leaves a rejection that nobody handles unhandled', async () => {
      const unhandled = vi.fn();
      const listeners = process.listeners('unhandledRejection');
      process.removeAllListeners('unhandledRejection').on('unhandledRejection', unhandled);
      try {
        void context.run({}, () => Promise.reject(new Error('floating')));
        await until(() => unhandled.mock.calls.length > 0, 'unhandled rejection');
      } finally {
        process.removeAllListeners('unhandledRejection');
        for (const listener of listeners) process.on('unhandledRejection', listener);
      }
      expect(unhandled).toHaveBeenCalledTimes(1);
    });
  });

  describe('values', () => {
    it('keeps two keys of one name, and a string of that name, apart', () => {
      context.run({}, () => {
        context.set(TENANT, 'one');
        context.set('tenant', 'three');
        expect(context.has(OTHER_TENANT)).toBe(false);
        context.set(OTHER_TENANT, 'two');
        expect([context.get(TENANT), context.get(OTHER_TENANT), context.get('tenant')]).toEqual([
          'one',
          'two',
          'three',
        ]);
        expect(context.delete(TENANT)).toBe(true);
        expect(context.has(TENANT)).toBe(false);
        expect(context.get('tenant')).toBe('three');
      });
    });

    it.each(['__proto__', 'constructor', 'toString', 'a.b', '__proto__.polluted'])(
      'treats %j as a name like any other',
      key => {
        context.run({}, () => {
          expect(context.get(key)).toBeUndefined();
          expect(context.has(key)).toBe(false);
          context.set(key, { polluted: true });
          expect(context.get(key)).toEqual({ polluted: true });
          expect(context.get('a')).toBeUndefined();
        });
        expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
      },
    );
  });

  describe('bind() and snapshot()', () => {
    it('keeps context, this, arguments, result, name and length', () => {
      function add(this: { base: number }, a: number, b: number): string {
        return `${context.requestId}:${this.base + a + b}`;
      }
      const bound = context.run({ requestId: 'bound' }, () => context.bind(add));
      expect(bound.call({ base: 1 }, 2, 3)).toBe('bound:6');
      expect([bound.name, bound.length]).toEqual(['add', 2]);
    });

    it('runs a function in the context of the snapshot, also in the one that there was not', () => {
      const inside = context.run({ requestId: 'then' }, () => context.snapshot());
      expect(inside(() => context.requestId)).toBe('then');
      const outside = context.snapshot();
      const seen = context.run({ requestId: 'now' }, () =>
        outside(() => [
          context.requestId,
          context.run({ requestId: 'inner' }, () => context.requestId),
          context.requestId,
        ]),
      );
      expect(seen).toEqual([undefined, 'inner', undefined]);
    });
  });

  describe('onClose()', () => {
    it('runs each callback after the work, inside the context, and outlives one that throws or rejects', async () => {
      const seen: string[] = [];
      context.run({ requestId: 'closing' }, () => {
        context.set(TENANT, 'acme');
        context.onClose(() => {
          throw new Error('first');
        });
        context.onClose(() => Promise.reject(new Error('second')));
        context.onClose(async () => {
          await new Promise(resolve => setTimeout(resolve, 5));
          seen.push(`${context.requestId} ${context.get(TENANT)}`);
        });
        seen.push('work');
      });
      await until(() => seen.length === 2, 'last callback');
      expect(seen).toEqual(['work', 'closing acme']);
    });

    it('lets go of what the request held', async () => {
      let later: (() => unknown) | undefined;
      let closed = false;
      await fetch(`${test.url}/user`);
      context.run({ user: { id: 1 } }, () => {
        context.set(TENANT, 'acme');
        context.onClose(() => {
          closed = true;
        });
        later = context.bind(() => [context.user, context.get(TENANT), context.requestId !== undefined]);
      });
      await until(() => closed, 'close');
      await new Promise(resolve => setTimeout(resolve, 5));
      expect(later?.()).toEqual([undefined, undefined, true]);
    });
  });

  it('records a unit of work whose user throws when it is looked at', async () => {
    const user = Object.defineProperty({}, 'id', {
      get() {
        throw new Error('of the application');
      },
    }) as { id: string };
    context.run({ requestId: 'odd-user', user }, () =>
      expect(contextLogFields()).toMatchObject({ requestId: 'odd-user' }),
    );
    expect(await recordOf(test, 'odd-user')).not.toHaveProperty('userId');
  });

  it('does not keep what a request held because one of its timers lives on', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    let held: WeakRef<object> | undefined;
    let timer: NodeJS.Timeout | undefined;
    context.run({ requestId: 'held' }, () => {
      const large = { rows: Array.from({ length: 1_000 }, () => 'row') };
      held = new WeakRef(large);
      context.set('large', large);
      context.setUser(large as never);
      timer = setInterval(() => context.requestId, 60_000);
    });
    await until(() => {
      collect();
      return held?.deref() === undefined;
    }, 'end of what was held');
    clearInterval(timer);
  });

  it('records what a client without instrumentation used', async () => {
    context.run({ requestId: 'measured' }, () => {
      context.record({ system: 'cassandra', collection: 'events', rows: 20, durationMs: 3 });
      context.record({
        system: 'postgresql',
        statement: "DELETE FROM events WHERE name = 'secret'",
        durationMs: 1,
      });
      context.record({ system: 'cassandra', collection: 'events', rows: Number.NaN, durationMs: 3 });
      expect(context.cost).toMatchObject({ queries: 2, rows: 20, durationMs: 4, writes: 1 });
    });
    const record = await recordOf(test, 'measured');
    expect(record.queries.byTable).toEqual({
      events: { count: 2, durationMs: 4, rows: 20 },
    });
    expect(JSON.stringify(record)).not.toContain('secret');
  });
});

function recordOf(test: TestApp, id: string): Promise<CostRecord> {
  return until(() => test.sink.records.find(({ requestId }) => requestId === id), `record of ${id}`);
}

describe('two applications in one process', () => {
  @Injectable()
  class Tells {
    constructor(readonly context: ContextService) {}
  }

  it('never see each other', async () => {
    const sinks = [new MemorySink(), new MemorySink()];
    const apps = await Promise.all(
      sinks.map(sink => {
        @Module({ imports: [AsyncContextModule.forRoot({ sinks: [sink] })], providers: [Tells] })
        class AppModule {}
        return NestFactory.createApplicationContext(AppModule, { logger: new LogLines() });
      }),
    );
    const [one, two] = apps.map(app => app.get(Tells).context) as [ContextService, ContextService];
    one.run({ requestId: 'one' }, () => {
      expect(one.requestId).toBe('one');
      expect(two.isActive).toBe(false);
      expect(() => two.set('a', 1)).toThrow('ASYNC_CONTEXT_MISSING');
      two.run({ requestId: 'two' }, () => {
        expect(one.requestId).toBeUndefined();
        expect(two.requestId).toBe('two');
      });
      expect(one.requestId).toBe('one');
    });
    await Promise.all(apps.map(app => app.close()));
    expect(sinks.map(sink => sink.records.map(record => [record.requestId, record.parentRequestId]))).toEqual(
      [[['one', undefined]], [['two', undefined]]],
    );
  });

  it('share the storage with a second copy of the package', () => {
    const share = (globalThis as Record<symbol, { storage?: unknown } | undefined>)[
      Symbol.for('nestjs-async-context.1.share')
    ];
    expect(share?.storage).toBeInstanceOf(AsyncLocalStorage);
  });
});
