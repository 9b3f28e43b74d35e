/** Stable codes of the errors that this package throws. */
export type AsyncContextErrorCode =
  | 'ASYNC_CONTEXT_MISSING'
  | 'ASYNC_CONTEXT_INVALID_OPTION'
  | 'ASYNC_CONTEXT_INVALID_BUDGET'
  | 'ASYNC_CONTEXT_INVALID_VALUE'
  | 'ASYNC_CONTEXT_BUDGET_EXCEEDED'
  | 'ASYNC_CONTEXT_OTHER_NEST';

/**
 * Base of every error that this package throws: its message says what is wrong, where, and what to do.
 *
 * @example
 * try {
 *   context.requireUser();
 * } catch (error) {
 *   if (error instanceof AsyncContextError && error.code === 'ASYNC_CONTEXT_MISSING') {
 *     // the code ran outside of any unit of work
 *   }
 * }
 */
export class AsyncContextError extends Error {
  override readonly name: string = 'AsyncContextError';

  constructor(
    readonly code: AsyncContextErrorCode,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

/** Something that needs a unit of work was used outside of any. */
export function contextMissing(what: string): AsyncContextError {
  return new AsyncContextError(
    'ASYNC_CONTEXT_MISSING',
    `${what} was used outside of any unit of work. Call it from a request, message or job; ` +
      'wrap other work in contextService.run(seed, fn) or @RunInContext(), and callbacks that lose ' +
      'the context in contextService.bind(fn).',
  );
}

/** A user of `contextService.requireUser()` had none. */
export function userMissing(): AsyncContextError {
  return new AsyncContextError(
    'ASYNC_CONTEXT_MISSING',
    'this unit of work has no user. Let the authentication guard set request.user, call ' +
      'contextService.setUser(user), or set forRoot({ user: request => … }) to say where the user is.',
  );
}

/** An option of `forRoot()`, or of another call that takes options, has a value that it cannot have. */
export function invalidOption(
  path: string,
  value: unknown,
  remedy: string,
  call = 'AsyncContextModule.forRoot',
): AsyncContextError {
  return new AsyncContextError(
    'ASYNC_CONTEXT_INVALID_OPTION',
    `${call}({ ${path} }) is ${describeValue(value)}. ${remedy}`,
  );
}

/** A call that takes an object of options was given something else. */
export function invalidArgument(
  value: unknown,
  remedy: string,
  call = 'AsyncContextModule.forRoot',
): AsyncContextError {
  return new AsyncContextError('ASYNC_CONTEXT_INVALID_OPTION', `${call}(${describeValue(value)}). ${remedy}`);
}

/** A limit of a budget has a value that it cannot have. */
export function invalidBudget(
  where: string,
  path: string,
  value: unknown,
  remedy: string,
): AsyncContextError {
  return new AsyncContextError(
    'ASYNC_CONTEXT_INVALID_BUDGET',
    `${where}: ${path} is ${describeValue(value)}. ${remedy}`,
  );
}

/** The schema of a key does not take a value. The error names the key: the value may be anybody's. */
export function invalidValue(key: string, threw: boolean): AsyncContextError {
  return new AsyncContextError(
    'ASYNC_CONTEXT_INVALID_VALUE',
    `the schema of key ${JSON.stringify(key)} ${threw ? 'threw on' : 'rejected'} the value. ` +
      'Pass a value that the schema accepts, or change the schema; it must also accept its own output.',
  );
}

function describeValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (typeof value === 'function') return `a function (${value.name || 'anonymous'})`;
  if (typeof value === 'object' && value !== null) {
    if (Array.isArray(value)) return 'an array';
    return Object.keys(value).length === 0 ? 'an empty object' : 'an object';
  }
  return String(value);
}
