import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import {
  ContextService,
  type ContextUser,
  CurrentUser,
  Public,
  RequestId,
  RequireUser,
  UserGuard,
  ProcessFigures,
} from 'nestjs-async-context';
import { platforms, startApp } from '../support/platforms';

interface Staff {
  readonly id: string;
  readonly roles: readonly string[];
}

/** Stands for Passport: who somebody is comes with a header. */
@Injectable()
class HeaderGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(execution: ExecutionContext): boolean {
    const { headers } = execution.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    const id = headers['x-user'];
    if (id !== undefined)
      this.context.setUser({ id, roles: headers['x-roles']?.split(' ') ?? [] } as ContextUser);
    return true;
  }
}

/** Stands for a guard of Passport whose `handleRequest()` lets everybody in: nobody is `false` there. */
const nobody = (give: (request: { user?: unknown }, context: ContextService) => void): Type<CanActivate> => {
  @Injectable()
  class OptionalGuard implements CanActivate {
    constructor(private readonly context: ContextService) {}

    canActivate(execution: ExecutionContext): boolean {
      give(execution.switchToHttp().getRequest(), this.context);
      return true;
    }
  }
  return OptionalGuard;
};

const isAdmin = (user: ContextUser): boolean => (user as Staff).roles.includes('admin');
let ran = 0;

@Controller()
class StaffController {
  @Get('any')
  @RequireUser()
  @UseGuards(HeaderGuard)
  any(
    @CurrentUser() user: ContextUser,
    @CurrentUser('id' as never) id: string,
    @RequestId() requestId: string,
  ) {
    ran += 1;
    return { user, id, requestId };
  }

  @Get('admin')
  @RequireUser(isAdmin)
  @UseGuards(HeaderGuard)
  admin() {
    ran += 1;
    return 'admin';
  }

  @Get('later')
  @RequireUser(user => Promise.resolve(isAdmin(user)))
  @UseGuards(HeaderGuard)
  later() {
    return 'later';
  }

  @Get('throws')
  @RequireUser(() => {
    throw new Error('a secret');
  })
  @UseGuards(HeaderGuard)
  throws() {
    ran += 1;
  }

  @Get('rejects')
  @RequireUser(() => Promise.reject(new Error('a secret')))
  @UseGuards(HeaderGuard)
  rejects() {
    ran += 1;
  }

  @Get('truthy')
  @RequireUser((() => 'yes') as never)
  @UseGuards(HeaderGuard)
  truthy() {
    ran += 1;
  }

  @Get('dry')
  @RequireUser(isAdmin, { dryRun: true })
  @UseGuards(HeaderGuard)
  dry() {
    return 'dry';
  }

  @Get('nobody/false')
  @RequireUser()
  @UseGuards(nobody(request => (request.user = false)))
  nobodyOfPassport() {
    ran += 1;
  }

  @Get('nobody/set')
  @RequireUser()
  @UseGuards(nobody((_, context) => context.setUser(false as never)))
  nobodySet() {
    ran += 1;
  }

  @Get('nobody/asked')
  @UseGuards(nobody(request => (request.user = false)))
  nobodyAsked(@CurrentUser() user: unknown) {
    return { user: user ?? 'nobody' };
  }

  @Get('order')
  @UseGuards(HeaderGuard)
  @RequireUser()
  order() {
    ran += 1;
  }
}

@Controller('public')
@Public()
class PublicController {
  @Get()
  open() {
    return 'open';
  }

  @Get('closed')
  @RequireUser()
  closed() {
    return 'closed';
  }
}

const alice = { 'x-user': 'alice' };
const admin = { 'x-user': 'root', 'x-roles': 'admin' };

describe.each(platforms)('@RequireUser() on %s', platform => {
  it('lets in who has a user, and what it asks for', async () => {
    const test = await startApp({ platform, controllers: [StaffController] });
    const status = async (path: string, headers: Record<string, string> = {}): Promise<number> => {
      const response = await fetch(`${test.url}/${path}`, { headers });
      await response.text();
      return response.status;
    };
    ran = 0;
    expect(await status('any')).toBe(401);
    expect(await status('admin')).toBe(401);
    expect(await status('admin', alice)).toBe(403);
    expect(await status('later', alice)).toBe(403);
    expect(await status('throws', admin)).toBe(403);
    expect(await status('rejects', admin)).toBe(403);
    expect(await status('truthy', admin)).toBe(403);
    expect(await status('order', admin)).toBe(401);
    expect(ran).toBe(0);
    expect(await status('admin', admin)).toBe(200);
    expect(await status('later', admin)).toBe(200);
    const response = await fetch(`${test.url}/any`, { headers: alice });
    expect(await response.json()).toEqual({
      user: { id: 'alice', roles: [] },
      id: 'alice',
      requestId: response.headers.get('x-request-id'),
    });

    const refused = (await test.records(11)).filter(record => record.refused !== undefined);
    expect(refused.map(({ route, status: answer, refused: why }) => [route, answer, why])).toEqual([
      ['GET /any', 401, { by: 'user', reason: 'no-user' }],
      ['GET /admin', 401, { by: 'user', reason: 'no-user' }],
      ['GET /admin', 403, { by: 'user', reason: 'not-allowed' }],
      ['GET /later', 403, { by: 'user', reason: 'not-allowed' }],
      ['GET /throws', 403, { by: 'user', reason: 'not-allowed' }],
      ['GET /rejects', 403, { by: 'user', reason: 'not-allowed' }],
      ['GET /truthy', 403, { by: 'user', reason: 'not-allowed' }],
      ['GET /order', 401, { by: 'user', reason: 'no-user' }],
    ]);
    const figures = test.app.get(ProcessFigures);
    expect(figures.refusals).toContainEqual({
      by: 'user',
      reason: 'no-user',
      handler: 'StaffController.admin',
      dryRun: false,
      count: 1,
    });
    const said = test.logs.of('warn', 'AsyncContext').join('\n');
    expect(said).toContain('the @RequireUser() function');
    expect(said).not.toContain('a secret');
    expect(said).toContain('UserGuard of StaffController.order');
    expect(said).toContain('runs before HeaderGuard');
    expect(said).not.toContain('UserGuard of StaffController.any');
    await test.close();
  });

  it('takes the false of Passport for nobody', async () => {
    const test = await startApp({ platform, controllers: [StaffController] });
    ran = 0;
    for (const path of ['false', 'set']) expect((await fetch(`${test.url}/nobody/${path}`)).status).toBe(401);
    expect(ran).toBe(0);
    expect(await (await fetch(`${test.url}/nobody/asked`)).json()).toEqual({ user: 'nobody' });
    await test.close();
  });

  it('says in a dry run whom it would refuse, and refuses nobody', async () => {
    const test = await startApp({ platform, controllers: [StaffController] });
    for (const headers of [{}, alice]) {
      expect((await fetch(`${test.url}/dry`, { headers })).status).toBe(200);
    }
    expect(test.app.get(ProcessFigures).refusals.map(({ reason, dryRun }) => [reason, dryRun])).toEqual([
      ['no-user', true],
      ['not-allowed', true],
    ]);
    const said = test.logs.of('warn', 'Guards');
    expect(said).toHaveLength(2);
    expect(said[0]).toContain('StaffController.dry would have refused a request with 401 (dry run)');
    for (const { refused } of await test.records(2)) expect(refused).toBeUndefined();
    await test.close();
  });

  it('is not opened by a dry run of the limits', async () => {
    const test = await startApp({ platform, controllers: [StaffController], guards: { dryRun: true } });
    expect((await fetch(`${test.url}/any`)).status).toBe(401);
    expect((await fetch(`${test.url}/admin`, { headers: alice })).status).toBe(403);
    await test.close();
  });

  it('holds for the application, but for what is public', async () => {
    const test = await startApp({
      platform,
      controllers: [PublicController],
      providers: [{ provide: APP_GUARD, useClass: UserGuard }],
      user: request => {
        const id = (request as { headers: Record<string, string> }).headers['x-user'];
        return id === undefined ? undefined : ({ id } as ContextUser);
      },
    });
    expect((await fetch(`${test.url}/public`)).status).toBe(200);
    expect((await fetch(`${test.url}/public/closed`)).status).toBe(401);
    expect((await fetch(`${test.url}/public/closed`, { headers: alice })).status).toBe(200);
    await test.close();
  });
});

describe('@RequireUser()', () => {
  it('says at the start what it cannot take', () => {
    const declare = (...args: never[]) => {
      class Bad {
        get() {}
      }
      const descriptor = Object.getOwnPropertyDescriptor(Bad.prototype, 'get')!;
      RequireUser(...args)(Bad.prototype, 'get', descriptor);
    };
    expect(() => declare('admin' as never)).toThrow(
      '@RequireUser on Bad.get({ allows }) is "admin". Use a function',
    );
    expect(() => declare(undefined as never, { dryrun: true } as never)).toThrow(
      '@RequireUser on Bad.get({ dryrun }) is true. There is no such option. Did you mean dryRun? Use dryRun.',
    );
    expect(() => declare(undefined as never, { dryRun: 1 } as never)).toThrow('Use true or false.');
  });
});
