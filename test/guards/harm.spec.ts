import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  type LoggerService,
  UseGuards,
} from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  Concurrency,
  ContextService,
  type ContextUser,
  CostLimit,
  CurrentUser,
  RequireUser,
  UserGuard,
  ProcessFigures,
} from 'nestjs-async-context';
import type { GuardKit } from '../../lib/guards/guard-kit';
import { GUARD_KIT } from '../../lib/guards/guard-kit-token';
import { platforms, startApp, until } from '../support/platforms';

const throwing = (): never => {
  throw new Error('of the logger');
};
/** Says nothing, and throws at each warning. */
const brokenLogger: LoggerService = {
  log: () => undefined,
  error: () => undefined,
  warn: throwing,
};

/** Asks in the unit of work of somebody else, as a callback of a shared connection may. */
@Injectable()
class StrayGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(execution: ExecutionContext): boolean | Promise<boolean> {
    const guard = new UserGuard(kit);
    return this.context.run({ user: { id: 'root' } as ContextUser }, () => guard.canActivate(execution));
  }
}

let kit: GuardKit;
let finish: (() => void) | undefined;

/** Puts a function of another name in the place of the method, as decorators of transactions do. */
function Wrapped(): MethodDecorator {
  return (_target, _key, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => unknown;
    descriptor.value = function (this: unknown, ...args: unknown[]) {
      return original.apply(this, args);
    };
  };
}

@Controller()
class HarmController {
  @Get('dry')
  @RequireUser(undefined, { dryRun: true })
  @CostLimit({ burst: 1, restorePerSecond: 1e-9, by: 'ip', estimate: 2, dryRun: true })
  dry() {
    return 'dry';
  }

  @Get('refused')
  @RequireUser()
  @Wrapped()
  refused() {
    return 'never';
  }

  @Get('stray')
  @UseGuards(StrayGuard)
  stray(@CurrentUser() user: unknown) {
    return { user };
  }

  @Get('hangs')
  @Concurrency({ limit: 1, maxHoldMs: 20 })
  hangs() {
    return new Promise<void>(resolve => (finish = resolve));
  }
}

const uncaught: unknown[] = [];
const note = (error: unknown): void => void uncaught.push(error);
beforeEach(() => {
  uncaught.length = 0;
  process.on('uncaughtException', note).on('unhandledRejection', note);
});
afterEach(() => void process.off('uncaughtException', note).off('unhandledRejection', note));

describe.each(platforms)('a guard on %s', platform => {
  it('does what it does where the logger throws', async () => {
    const test = await startApp({ platform, controllers: [HarmController], nest: { logger: brokenLogger } });
    const status = async (path: string): Promise<number> => (await fetch(`${test.url}/${path}`)).status;
    expect([await status('dry'), await status('dry'), await status('refused')]).toEqual([200, 200, 401]);
    const hanging = fetch(`${test.url}/hangs`);
    const end = await until(() => finish, 'handler');
    await new Promise(resolve => setTimeout(resolve, 100));
    expect(uncaught).toEqual([]);
    end();
    await hanging;
    expect(test.app.get(ProcessFigures).refusals.map(({ handler }) => handler)).toContain(
      'HarmController.refused',
    );
    await test.close();
    finish = undefined;
  });

  it('takes nobody for the user of a request that it is not', async () => {
    const test = await startApp({ platform, controllers: [HarmController] });
    kit = test.app.get<GuardKit>(GUARD_KIT);
    expect((await fetch(`${test.url}/stray`)).status).toBe(401);
    await test.close();
  });
});
