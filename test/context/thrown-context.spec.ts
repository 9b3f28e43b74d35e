import { describe, expect, it } from 'vitest';
import { contextStorage } from '../../lib/context/context-storage';
import type { RequestContext } from '../../lib/context/request-context';
import { callAndNote, isOfAnother, runAndNote, takeThrown } from '../../lib/context/thrown-context';

// What is looked at is which of them it is.
const a = { name: 'a' } as unknown as RequestContext;
const b = { name: 'b' } as unknown as RequestContext;

function throwIn(context: RequestContext | undefined, error: unknown): void {
  try {
    runAndNote(context, () => {
      throw error;
    });
  } catch {
    // As Node does with what nobody catches.
  }
}

/** Runs in the context of `a` as the events of a connection do that it has opened. */
function inConnectionOf<T>(opener: RequestContext, fn: () => T): T {
  return contextStorage.run(opener, () => contextStorage.run(contextStorage.captureAsOpener(), fn));
}

describe('an error that is thrown out of a callback', () => {
  it.each([new Error('x'), Object.freeze(new Error('x')), 'x', undefined, Symbol('x')])(
    'is of its context: %s',
    error => {
      throwIn(b, error);
      expect(takeThrown(error)?.origin).toBe(b);
      expect(takeThrown(error)).toBeUndefined();
    },
  );

  it('is of the innermost one', () => {
    const error = new Error('x');
    expect(() =>
      runAndNote(a, () =>
        callAndNote(b, () => {
          throw error;
        }),
      ),
    ).toThrow(error);
    expect(takeThrown(error)?.origin).toBe(b);
  });

  it('is of nobody where the callback was made outside of any unit of work', () => {
    const error = new Error('x');
    throwIn(undefined, error);
    expect(takeThrown(error)).toMatchObject({ origin: undefined });
  });

  it('is of nobody where the callback was made in an event of a connection', () => {
    const error = new Error('x');
    const captured = inConnectionOf(a, () => contextStorage.capture());
    expect(contextStorage.run(captured, () => contextStorage.getStore())).toBe(a);
    expect(() =>
      runAndNote(captured, () => {
        throw error;
      }),
    ).toThrow(error);
    expect(takeThrown(error)).toMatchObject({ origin: undefined });
  });

  it('is still known on the next tick, where the driver throws it again, as pg does', async () => {
    const error = new Error('x');
    throwIn(b, error);
    runAndNote(a, () => undefined);
    const known = await new Promise(resolve => process.nextTick(() => resolve(takeThrown(error)?.origin)));
    expect(known).toBe(b);
  });

  it('is of nobody where two contexts throw the same object on one tick', () => {
    const error = new Error('x');
    throwIn(a, error);
    throwIn(b, error);
    throwIn(a, new Error('y'));
    expect(takeThrown(error)).toMatchObject({ origin: undefined });
  });

  it('is not taken for another one that is alike', () => {
    throwIn(a, 'x');
    runAndNote(b, () => undefined);
    expect(takeThrown('x')).toBeUndefined();
  });

  it('is forgotten when others run, but for that it was of another', async () => {
    const error = new Error('x');
    throwIn(a, error);
    await new Promise(resolve => setImmediate(resolve));
    expect(takeThrown(error)).toBeUndefined();
    expect(isOfAnother(error, a)).toBe(false);
    expect(isOfAnother(error, b)).toBe(true);
  });
});

it('keeps the note of an error where that of an earlier one is forgotten just then', async () => {
  const [first, second] = [new Error('first'), new Error('second')];
  let found: unknown;
  throwIn(a, first);
  takeThrown(first);
  process.nextTick(() => {
    throwIn(b, second);
    // As pg throws it again.
    process.nextTick(() => (found = takeThrown(second)));
  });
  await new Promise(resolve => setImmediate(resolve));
  expect(found).toMatchObject({ origin: b });
});

describe('what comes by way of a connection', () => {
  it('keeps the context, without being certain, in timers, promises and what is captured', async () => {
    const seen: unknown[] = [];
    const look = (): void =>
      void seen.push([contextStorage.getStore(), contextStorage.certain(contextStorage.capture())]);
    await inConnectionOf(a, async () => {
      look();
      await undefined;
      look();
      await new Promise<void>(resolve => setTimeout(() => resolve(look()), 1));
      contextStorage.run(contextStorage.capture(), look);
      contextStorage.run(b, look);
      contextStorage.run(a, look);
      look();
    });
    const uncertain = [a, undefined];
    expect(seen).toEqual([uncertain, uncertain, uncertain, uncertain, [b, b], [a, a], uncertain]);
  });
});
