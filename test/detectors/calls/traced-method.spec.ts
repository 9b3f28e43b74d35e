import { Injectable } from '@nestjs/common';
import { of } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ContextService, type RequestCost, RunInContext, traceProviders } from 'nestjs-async-context';
import { startApp, type TestApp, until } from '../../support/platforms';

const failure = new Error('of the application');

@Injectable()
class BaseService {
  inherited(): string {
    return 'base';
  }

  overridden(): string {
    return 'base';
  }
}

@Injectable()
class PlainService extends BaseService {
  readonly #secret = 'private';
  readonly cached = Promise.resolve('cached');
  broken: Promise<never> | undefined;
  reads = 0;

  value(first: number, second = 1): number {
    return first + second;
  }

  async asynchronous(value: unknown): Promise<unknown> {
    return value;
  }

  async rejects(): Promise<never> {
    await Promise.resolve();
    throw failure;
  }

  async awaits(): Promise<void> {
    await this.fails();
  }

  async fails(): Promise<never> {
    await Promise.resolve();
    throw new Error('deep');
  }

  @RunInContext({ requestId: 'job' })
  async job(): Promise<string> {
    return 'done';
  }

  deep(levels: number): Promise<unknown> {
    return levels === 0 ? this.asynchronous('bottom') : this.deep(levels - 1);
  }

  memoised(): Promise<string> {
    return this.cached;
  }

  rejected(): Promise<never> {
    return Promise.reject(failure);
  }

  handsOn(): Promise<never> {
    return this.rejects();
  }

  memoisedFailure(): Promise<never> {
    return (this.broken ??= this.rejected());
  }

  throws(): never {
    throw failure;
  }

  *generator(): Generator<number> {
    yield 1;
    yield 2;
  }

  async *asyncGenerator(): AsyncGenerator<number> {
    yield 1;
    yield 2;
  }

  observable() {
    return of(1, 2);
  }

  lazy(): PromiseLike<number> {
    return {
      // oxlint-disable-next-line unicorn/no-thenable -- query builders are
      then: resolve => {
        this.reads += 1;
        return Promise.resolve(1).then(resolve);
      },
    };
  }

  self(): this {
    return this;
  }

  secret(): string {
    return this.#secret;
  }

  override overridden(): string {
    return `over ${super.overridden()}`;
  }
}

let test: TestApp;
let plain: PlainService;

beforeAll(async () => {
  test = await startApp({
    providerCalls: true,
    nest: { instrument: traceProviders() },
    providers: [PlainService],
  });
  plain = test.app.get(PlainService);
});
afterAll(() => test.close());

interface Traced<T> {
  readonly result: T;
  readonly cost: RequestCost;
  readonly calls: Readonly<Record<string, number>>;
}

/** Runs some work in a unit of work; gives its result and what was counted when it had ended. */
function traced<T>(work: () => T): Promise<Traced<T>> {
  const context = test.app.get(ContextService);
  return context.run({}, async () => {
    const result = work();
    if (result instanceof Promise) await result.catch(() => undefined);
    const cost = context.cost!;
    const calls = Object.fromEntries(cost.providerCalls().map(({ call, count }) => [call, count]));
    // In an object: what is returned from here is awaited.
    return { result, cost, calls };
  });
}

describe('what a traced method gives back', () => {
  it.each<[string, (service: PlainService) => unknown]>([
    ['value', service => service.value(2)],
    ['self', service => service.self() === service],
    ['secret', service => service.secret()],
    ['inherited', service => service.inherited()],
    ['overridden', service => service.overridden()],
    ['generator', service => [...service.generator()]],
  ])('is the value itself: %s', async (name, work) => {
    const bare = work(new PlainService());
    const { result, calls } = await traced(() => work(plain));
    expect(result).toEqual(bare);
    expect(calls).toEqual({ [`PlainService.${name}`]: 1 });
  });

  it('is the very promise of a function that is not async', async () => {
    const { result, calls } = await traced(() => plain.memoised() === plain.cached);
    expect(result).toBe(true);
    expect(calls).toEqual({ 'PlainService.memoised': 1 });
  });

  it('is a promise of the same value or reason where the function is async', async () => {
    const value = { of: 'the application' };
    const { result } = await traced(() => plain.asynchronous(value));
    expect(result).toBeInstanceOf(Promise);
    expect(await result).toBe(value);
    const { result: rejected, cost } = await traced(() => plain.rejects());
    expect(await rejected.catch((error: unknown) => error)).toBe(failure);
    expect(cost.providerCalls()).toMatchObject([{ call: 'PlainService.rejects', count: 1, errors: 1 }]);
  });

  it('is the error that it throws, counted', async () => {
    const { result, cost } = await traced(() => {
      try {
        return plain.throws();
      } catch (error) {
        return error;
      }
    });
    expect(result).toBe(failure);
    expect(cost.providerCalls()).toMatchObject([{ call: 'PlainService.throws', count: 1, errors: 1 }]);
  });

  it('is not awaited, subscribed to or begun by the trace', async () => {
    const { calls } = await traced(() => [plain.lazy(), plain.asyncGenerator(), plain.observable()].length);
    expect(plain.reads).toBe(0);
    expect(calls).toEqual({
      'PlainService.lazy': 1,
      'PlainService.asyncGenerator': 1,
      'PlainService.observable': 1,
    });
    const values: number[] = [];
    for await (const value of plain.asyncGenerator()) values.push(value);
    expect(values).toEqual([1, 2]);
  });

  it('is handed on through a thousand calls, all of which end', async () => {
    const { result, cost } = await traced(() => plain.deep(1_000));
    expect(await result).toBe('bottom');
    const before = cost.providerCalls();
    await new Promise(resolve => setTimeout(resolve, 5));
    // What had not ended would go on growing.
    expect(cost.providerCalls()).toEqual(before);
    expect(before.find(({ call }) => call === 'PlainService.deep')!.count).toBe(1_001);
  });

  it('keeps the asynchronous stack of an error', async () => {
    const { result } = await traced(() => plain.awaits());
    const error = await result.then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(error!.stack).toMatch(/PlainService\.fails[\s\S]*PlainService\.awaits/);
  });

  it('is that of @RunInContext(), whose unit of work is its own', async () => {
    const { result, calls } = await traced(() => plain.job());
    expect(await result).toBe('done');
    expect(calls).toEqual({ 'PlainService.job': 1 });
    await until(() => test.sink.records.find(({ requestId }) => requestId === 'job'), 'record of the job');
  });

  it('is the same outside of any unit of work', async () => {
    expect(plain.value(2)).toBe(3);
    expect(await plain.asynchronous(1)).toBe(1);
    expect(() => plain.throws()).toThrow(failure);
  });
});

describe('a rejection that nobody handles', () => {
  it.each<[string, () => unknown]>([
    ['of an async method', () => plain.rejects()],
    ['of a method that is not async', () => plain.rejected()],
    ['that is handed on', () => plain.handsOn()],
  ])('is heard of once, with its reason: %s', async (_name, work) => {
    const reasons = await unhandledDuring(() => traced(() => [work()].length));
    expect(reasons).toEqual([failure]);
  });

  it('is heard of while another caller has handled the same promise of a memo: never', async () => {
    const reasons = await unhandledDuring(() =>
      traced(() => {
        plain.memoisedFailure().catch(() => undefined);
        return plain.memoisedFailure() === plain.memoisedFailure();
      }),
    );
    expect(reasons).toEqual([]);
  });
});

/** The reasons of all rejections that nobody handles while some work runs and shortly after. */
async function unhandledDuring(work: () => Promise<unknown>): Promise<unknown[]> {
  const theirs = process.listeners('unhandledRejection');
  const reasons: unknown[] = [];
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', reason => void reasons.push(reason));
  try {
    await work();
    await new Promise(resolve => setTimeout(resolve, 20));
    return reasons;
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const listener of theirs) process.on('unhandledRejection', listener);
  }
}

describe('a method that a test replaces', () => {
  it('on the instance is counted where the spy calls it', async () => {
    const spy = vi.spyOn(plain, 'value');
    const { calls } = await traced(() => plain.value(1));
    expect(spy).toHaveBeenCalledWith(1);
    expect(calls).toEqual({ 'PlainService.value': 1 });
    spy.mockReturnValue(7);
    expect(plain.value(1)).toBe(7);
    spy.mockRestore();
    expect(plain.value(1)).toBe(2);
  });

  it('on the class is the one that is called', async () => {
    const spy = vi.spyOn(PlainService.prototype, 'asynchronous').mockResolvedValue('mocked');
    const { result, calls } = await traced(() => plain.asynchronous('real'));
    expect(await result).toBe('mocked');
    expect(spy).toHaveBeenCalledTimes(1);
    expect(calls).toEqual({ 'PlainService.asynchronous': 1 });
    spy.mockRestore();
    expect(await plain.asynchronous('real')).toBe('real');
  });
});
