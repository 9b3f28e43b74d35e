import { unprintables } from '../../support/unprintable';

/** What becomes of a function that fails in one way. */
export type Outcome = 'throws' | 'rejects' | 'never ends' | 'is no answer';

export interface Fault {
  readonly outcome: Outcome;
  /** What the function does. */
  readonly fail: () => unknown;
}

const text = 'duplicate key (email)=(ada@shop.example)';

/** Each way in which a function of the application may fail. */
export const hookErrors: Readonly<Record<string, Fault>> = {
  throws: { outcome: 'throws', fail: thrower },
  rejects: { outcome: 'rejects', fail: () => Promise.reject(new Error(text)) },
  'rejects later': {
    outcome: 'rejects',
    fail: () => new Promise((_resolve, reject) => setTimeout(() => reject(new Error(text)), 5)),
  },
  hangs: { outcome: 'never ends', fail: () => new Promise(() => undefined) },
  'gives a thenable that rejects': {
    outcome: 'rejects',
    fail: () => ({ then: (_done: unknown, failed: (error: unknown) => void) => failed(new Error(text)) }),
  },
  'gives a thenable whose then() throws': { outcome: 'rejects', fail: () => ({ then: thrower }) },
  'gives a thenable whose async then() throws': {
    outcome: 'rejects',
    // oxlint-disable-next-line unicorn/no-thenable, typescript/require-await -- applications have them
    fail: () => ({ then: async () => thrower() }),
  },
  'gives a thenable that never settles': { outcome: 'never ends', fail: () => ({ then: () => undefined }) },
  'gives an object whose then cannot be read': {
    outcome: 'is no answer',
    fail: () => ({
      get then() {
        return thrower();
      },
    }),
  },
  'gives a proxy that was revoked': {
    outcome: 'is no answer',
    fail: unprintables['a proxy that was revoked']!,
  },
  'rejects with a proxy that was revoked': {
    outcome: 'rejects',
    fail: () => Promise.reject(unprintables['a proxy that was revoked']!()),
  },
  ...Object.fromEntries(
    Object.entries(unprintables).map(([name, make]): [string, Fault] => [
      `throws ${name}`,
      {
        outcome: 'throws',
        fail: () => {
          throw make();
        },
      },
    ]),
  ),
};

function thrower(): never {
  throw new Error(text);
}
