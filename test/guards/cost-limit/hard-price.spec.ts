import { Controller, Get } from '@nestjs/common';
import { CostLimit, QueryBudget } from 'nestjs-async-context';
import { describe, expect, it } from 'vitest';
import { startApp } from '../../support/platforms';
import { NotingStore } from './noting-store';

const UNTIL = { issue: 'SHOP-1', until: '2020-12-31' };

@Controller()
@CostLimit({ burst: 1_000, restorePerSecond: 1, by: 'ip', estimate: 10 })
class PriceController {
  @Get('exempt')
  @QueryBudget({ hard: { queries: 100 } })
  @QueryBudget.exempt({ hard: { queries: 900 }, ...UNTIL, until: '2999-12-31' })
  exempt() {}

  @Get('expired')
  @QueryBudget({ hard: { queries: 100 } })
  @QueryBudget.exempt({ hard: { queries: 900 }, ...UNTIL })
  expired() {}

  @Get('gone')
  @QueryBudget.exempt({ hard: { queries: 900 }, ...UNTIL })
  gone() {}

  @Get('within')
  @QueryBudget({ hard: { queries: 1_000 } })
  within() {}

  @Get('above')
  @QueryBudget({ hard: { queries: 1_001 } })
  above() {}
}

describe('what hard limits allow', () => {
  it('is reserved, with an exemption until that ends', async () => {
    const store = new NotingStore();
    const test = await startApp({ controllers: [PriceController], guards: { costLimit: { store } } });
    const reserved: number[] = [];
    for (const path of ['exempt', 'expired', 'gone', 'within', 'above']) {
      store.takes.length = 0;
      await fetch(`${test.url}/${path}`);
      reserved.push(store.takes[0]!.take);
    }
    expect(reserved).toEqual([900, 100, 10, 1_000, 10]);
    await test.close();
  });
});
