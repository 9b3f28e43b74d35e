import { Controller, Get, ParseIntPipe, Post, Query } from '@nestjs/common';
import { Concurrency, CostLimit, CurrentUser, QueryBudget, RequireUser } from 'nestjs-async-context';
import type { ContextUser } from 'nestjs-async-context';
import { GuardedService } from './guarded.service';

/** What guards of this package refuse before, or while, a handler runs. */
@Controller('guarded')
export class GuardedController {
  constructor(private readonly guarded: GuardedService) {}

  /** 401 without a user, 403 for one that is no clerk. */
  @Get('payroll')
  @RequireUser(user => user.role === 'clerk')
  payroll(@CurrentUser() user: ContextUser) {
    return { for: user.id };
  }

  /** 429 for a caller who has cost more than 200 points at once and 20 a second. */
  @Get('search')
  @CostLimit({ burst: 200, restorePerSecond: 20, by: 'user', estimate: 25 })
  search(@Query('count', ParseIntPipe) count: number) {
    return this.guarded.search(count);
  }

  /** 503 for the third export at once that has waited for 100 ms. */
  @Get('export')
  @Concurrency({ limit: 2, waitMs: 100 })
  export() {
    return this.guarded.export();
  }

  /** 503 after 50 queries, and nothing of them stays. */
  @Post('import')
  @QueryBudget({ queries: 20, hard: { queries: 50 } })
  import(@Query('count', ParseIntPipe) count: number) {
    return this.guarded.import(count);
  }
}
