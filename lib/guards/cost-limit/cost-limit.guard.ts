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
 * Limits the cost of callers: it reserves the expected cost before the handler runs, and charges the actual cost
 * afterwards. `@CostLimit()` applies it automatically; registered as a global guard, it also enforces
 * `forRoot({ guards: { costLimit: { default } } })` for handlers that declare nothing.
 *
 * It refuses with 429 and `Retry-After`. Whatever identifies the caller must be known before it runs.
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
