import type { ExecutionContext, Type } from '@nestjs/common';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { nameOf } from '../guard-kit-token';
import { guardsBehind } from '../guard-order';

/** Says once a handler that `by: 'user'` is asked before anybody knows who the user is. */
export class UserOrder {
  readonly #hookErrors: HookErrorReporter;
  readonly #said = new Set<string>();

  constructor(hookErrors: HookErrorReporter) {
    this.#hookErrors = hookErrors;
  }

  /** There is no user, and something runs later that may find one. */
  noUser(execution: ExecutionContext, guard: Type): void {
    const handler = nameOf(execution);
    if (this.#said.has(handler)) return;
    const later = guardsBehind(guard, execution);
    if (later.length === 0) return;
    this.#say(
      handler,
      `it finds no user and runs before ${later.join(', ')}. If one of these authenticates, put @CostLimit() above its ` +
        '@UseGuards(), or put its guard before this one',
    );
  }

  /** There was none, and at the end there is. */
  userCameLater(handler: string): void {
    if (this.#said.has(handler)) return;
    this.#say(
      handler,
      'there was no user when the guard ran but there was one at the end, so the address was limited instead. Put ' +
        '@CostLimit() above the decorator that authenticates (method decorators apply from the bottom up), or its ' +
        'guard after that one',
    );
  }

  #say(handler: string, words: string): void {
    this.#said.add(handler);
    this.#hookErrors.say(`@CostLimit({ by: 'user' }) of ${handler}`, words);
  }
}
