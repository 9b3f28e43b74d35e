import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { ContextUser, RequestContext } from '../../context/request-context';
import { type Access, declaredAccess } from './access';
import type { GuardKit } from '../guard-kit';
import { GUARD_KIT, nameOf } from '../guard-kit-token';
import { guardsBehind } from '../guard-order';
import type { Refusal } from '../refusal';

const NO_USER: Refusal = { by: 'user', reason: 'no-user', status: 401, message: 'Unauthorized' };
const NOT_ALLOWED: Refusal = { by: 'user', reason: 'not-allowed', status: 403, message: 'Forbidden' };

/**
 * Lets a caller in if there is a user in the context and the requirement of `@RequireUser()` is met. It reads the
 * context, so one guard works for Passport, your own guards that call `setUser()`, signed carriers and the `user`
 * option, on all transports. Register it after authentication.
 *
 * It refuses with 401 without a user, and with 403 if the requirement is not met.
 *
 * @example
 * import { APP_GUARD } from '@nestjs/core';
 *
 * @Module({ providers: [{ provide: APP_GUARD, useClass: UserGuard }] })
 * export class AuthModule {}
 */
@Injectable()
export class UserGuard implements CanActivate {
  readonly #kit: GuardKit;
  readonly #said = new Set<string>();

  constructor(@Inject(GUARD_KIT) kit: GuardKit) {
    this.#kit = kit;
  }

  canActivate(execution: ExecutionContext): boolean | Promise<boolean> {
    const access = declaredAccess.of(execution)?.value;
    if (access?.isPublic === true) return true;
    // Not what all guards have: who tries a limit must not open what this one protects.
    const dryRun = access?.dryRun === true;
    const user = userOf(this.#kit.contextOf(execution));
    if (user === undefined) {
      this.#sayOrder(execution);
      return this.#kit.refuse(execution, NO_USER, dryRun);
    }
    const { allows } = access ?? {};
    if (allows === undefined) return true;
    const answer = this.#ask(allows, user, execution);
    if (typeof answer === 'boolean') return this.#judge(answer, execution, dryRun);
    return answer.then(isAllowed => this.#judge(isAllowed, execution, dryRun));
  }

  /** Once a handler: nobody is let in where what authenticates stands behind this guard. */
  #sayOrder(execution: ExecutionContext): void {
    const handler = nameOf(execution);
    if (this.#said.has(handler)) return;
    this.#said.add(handler);
    const later = guardsBehind(UserGuard, execution);
    if (later.length === 0) return;
    this.#kit.hookErrors.say(
      `UserGuard of ${handler}`,
      `it finds no user and runs before ${later.join(', ')}. If one of these authenticates, put @RequireUser() above ` +
        'its @UseGuards(), or put its guard before this one',
    );
  }

  /** What throws, or rejects, does not allow. */
  #ask(
    allows: NonNullable<Access['allows']>,
    user: ContextUser,
    execution: ExecutionContext,
  ): boolean | Promise<boolean> {
    const failed = (error: unknown): false => {
      this.#kit.hookErrors.report('the @RequireUser() function', error);
      return false;
    };
    try {
      const answer: unknown = allows(user, execution);
      return typeof answer === 'boolean' ? answer : Promise.resolve(answer).then(isTrue, failed);
    } catch (error) {
      return failed(error);
    }
  }

  #judge(isAllowed: boolean, execution: ExecutionContext, dryRun: boolean): true {
    return isAllowed || this.#kit.refuse(execution, NOT_ALLOWED, dryRun);
  }
}

function isTrue(answer: unknown): boolean {
  return answer === true;
}

/** `false` or `null` is what Passport gives where nobody is, and what is handed to `setUser()` then. */
function userOf(context: RequestContext | undefined): ContextUser | undefined {
  return context?.knownUser() || undefined;
}
