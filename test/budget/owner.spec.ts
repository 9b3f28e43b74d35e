import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { type AsyncContextOptions, ContextService, QueryBudget } from 'nestjs-async-context';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { BoundedNames } from '../../lib/sinks/bounded-names';
import { platforms, startApp, type TestApp } from '../support/platforms';

let test: TestApp | undefined;
afterEach(() => test?.close());

const END = '2999-01-31';

@Injectable()
class Spending {
  constructor(protected readonly context: ContextService) {}

  protected spend(): string {
    for (let i = 0; i < 2; i += 1)
      this.context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 });
    return 'spent';
  }
}

@Controller('owned')
@QueryBudget({ owner: 'orders', queries: 1 })
class OwnedController extends Spending {
  @Get('method')
  @QueryBudget({ owner: 'checkout' })
  method(): string {
    return this.spend();
  }

  @Get('class')
  @QueryBudget(0)
  class(): string {
    return this.spend();
  }

  @Get('exempt')
  @QueryBudget.exempt({ queries: 1, issue: 'SHOP-12', owner: 'debtors', until: END })
  exempt(): string {
    return this.spend();
  }

  @Get('exempt-by-nobody')
  @QueryBudget.exempt({ queries: 1, issue: 'SHOP-12', until: END })
  exemptByNobody(): string {
    return this.spend();
  }
}

@Controller('plain')
class PlainController extends Spending {
  @Get()
  plain(): string {
    return this.spend();
  }
}

@Module({ controllers: [PlainController] })
@QueryBudget({ owner: 'platform', queries: 1 })
class OwnedModule {}

async function breachOf(path: string, options: Partial<Parameters<typeof startApp>[0]> = {}) {
  test = await startApp({ controllers: [OwnedController], imports: [OwnedModule], ...options });
  await fetch(test.url + path);
  const [record] = await test.records(1);
  const [line] = test.logs.of('error', 'QueryBudget');
  return { owner: record?.owner, line };
}

describe.each(platforms)('the owner of a handler on %s', platform => {
  it.each([
    ['/owned/method', 'checkout'],
    ['/owned/class', 'orders'],
    ['/owned/exempt', 'debtors'],
    ['/owned/exempt-by-nobody', 'orders'],
    ['/plain', 'platform'],
  ])('of %s is the nearest that says so: %s, in the record and in the line', async (path, owner) => {
    const breach = await breachOf(path, { platform });
    expect(breach.owner).toBe(owner);
    expect(breach.line).toMatch(new RegExp(`^ {2}owner +${owner}$`, 'm'));
  });
});

describe('the owner of a handler', () => {
  it.each<[string, AsyncContextOptions['budget'], string | undefined]>([
    ['of nobody', { queries: 1 }, undefined],
    ['of forRoot()', { owner: 'all', queries: 1 }, 'all'],
    [
      'of a method of HTTP',
      { default: { owner: 'all', queries: 1 }, byMethod: { GET: { owner: 'readers' } } },
      'readers',
    ],
  ])('is that %s, where nothing nearer is', async (_, budget, owner) => {
    const breach = await breachOf('/plain', { imports: [], controllers: [PlainController], budget: budget! });
    expect(breach.owner).toBe(owner);
    expect(/^ {2}owner /m.test(String(breach.line))).toBe(owner !== undefined);
  });

  it('is a label of breaches, at most 200', async () => {
    const registry = new Registry();
    await breachOf('/owned/method', { sinks: [new PrometheusSink({ registry })] });
    await test!.close();
    expect(await registry.metrics()).toContain(
      'nestjs_budget_breaches_total{handler="OwnedController.method",dimension="queries",owner="checkout"} 1',
    );
    test = undefined;
    const owners = new BoundedNames(200);
    const names = new Set(Array.from({ length: 1_000 }, (_, i) => owners.of(`team ${i}`)));
    expect(names.size).toBe(201);
  });

  it.each(['', ' ', 'x'.repeat(101), 5])('is no %j', owner => {
    expect(() => {
      @QueryBudget({ owner: owner as string })
      class Refused {}
      return Refused;
    }).toThrow(/@QueryBudget on Refused: owner is .*Name the team/);
  });
});
