import { describe, expect, it } from 'vitest';
import { QueryBudgetExceededError } from 'nestjs-async-context';
import { isOfStop } from '../../lib/budget/stop-cause';

const stop = new QueryBudgetExceededError(
  { dimension: 'queries', used: 3, limit: 2, from: '@QueryBudget({ hard }) on Orders.list' },
  'SELECT ?',
  true,
);
const withField = (field: string, value: unknown): Error =>
  Object.assign(new Error('failed'), { [field]: value });
const withGetter = Object.defineProperty(new Error('failed'), 'cause', {
  get() {
    throw new Error('of a getter');
  },
});
const circle = withField('cause', undefined);
Object.assign(circle, { cause: withField('cause', circle) });
/** As deep as one likes. */
const chain = (length: number, end: unknown): unknown =>
  Array.from({ length }).reduce<unknown>(cause => new Error('failed', { cause }), end);

describe('an error comes of a stop', () => {
  const yes: [string, unknown][] = [
    ['is the one of the stop', stop],
    ['has it as its cause', new Error('failed', { cause: stop })],
    ['has it as its cause, some way down', chain(10, stop)],
    ['has it as its driverError', withField('driverError', stop)],
    ['has it as its originalError', withField('originalError', stop)],
    ['has it as its previous', withField('previous', stop)],
    ['has it as its parent', withField('parent', stop)],
    ['has it among its errors', new AggregateError([new Error('other'), stop])],
    ['has it where it was disposed', withField('suppressed', stop)],
    ['has its code', withField('code', stop.code)],
    ['has its text', new Error(`Invalid invocation: ${stop.message}`)],
    ['is its text', String(stop)],
    ['is what its signal aborts with', new DOMException('aborted', 'AbortError')],
    ['is what axios makes of the signal', withField('code', 'ERR_CANCELED')],
    ['is the end of what was given the time that is left', withField('code', '57014')],
    ...[
      'Transaction query already complete, run with DEBUG=knex:tx for more info',
      'Transaction API error: Transaction already closed: A query cannot be executed on a closed transaction.',
      'savepoint "inner_one" does not exist',
      'SAVEPOINT inner_one does not exist',
      'current transaction is aborted, commands ignored until end of transaction block',
      'Transaction is not started yet, start transaction before committing or rolling it back.',
      'no such savepoint: inner_one',
      'cannot rollback - no transaction is active',
    ].map((text): [string, unknown] => [`says "${text.slice(0, 40)}"`, new Error(text)]),
  ];
  it.each(yes)('where it %s', (_name, error) => {
    expect(isOfStop(error)).toBe(true);
  });

  const no: [string, unknown][] = [
    ['is a fault of the handler', new TypeError("Cannot read properties of undefined (reading 'id')")],
    ['is one of the database', withField('code', '23505')],
    ['has another cause', new Error('failed', { cause: new Error('other') })],
    ['is nothing', undefined],
    ['is a text', 'failed'],
    ['has a getter that throws', withGetter],
    ['is its own cause', circle],
    ['is too deep to be looked at', chain(1_000, stop)],
    [
      'has too many to be looked at',
      new AggregateError(Array.from({ length: 10_000 }, () => new Error('other'))),
    ],
  ];
  it.each(no)('but not where it %s', (_name, error) => {
    expect(isOfStop(error)).toBe(false);
  });
});
