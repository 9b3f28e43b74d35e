import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  type OnApplicationShutdown,
} from '@nestjs/common';
import type { GuardKit } from '../guard-kit';
import { GUARD_KIT } from '../guard-kit-token';
import type { CostLimiter } from './cost-limiter';

/**
 * Lets a caller cost so many points: it reserves what the handler is expected to cost before it runs, and charges
 * what it has cost when it is over. `@CostLimit()` brings it along; as a guard of the application it also has
 * `forRoot({ guards: { costLimit: { default } } })` in force for the handlers that declare nothing.
 *
 * It refuses with 429 and `Retry-After`; what it needs to know of the caller must be known before it.
 *
 * @example
 * import { APP_GUARD } from '@nestjs/core';
 *
 * @Module({ providers: [{ provide: APP_GUARD, useClass: CostLimitGuard }] })
 * export class LimitsModule {}
 */
@Injectable()
export class CostLimitGuard implements CanActivate, OnApplicationShutdown {
  readonly #limiter: CostLimiter;

  constructor(@Inject(GUARD_KIT) kit: GuardKit) {
    // With the first guard that Nest makes: the decorator alone goes without its 16 files.
    const limiter = require('./cost-limiter') as typeof import('./cost-limiter');
    this.#limiter = limiter.CostLimiter.of(kit);
  }

  canActivate(execution: ExecutionContext): true | Promise<true> {
    return this.#limiter.admit(execution, CostLimitGuard);
  }

  onApplicationShutdown(): Promise<void> {
    return this.#limiter.close();
  }
}
