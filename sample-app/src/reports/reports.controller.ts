import { Controller, Get } from '@nestjs/common';
import { QueryBudget } from 'nestjs-async-context';
import { ReportsService } from './reports.service';

@Controller('reports')
export class ReportsController {
  constructor(private readonly reports: ReportsService) {}

  @Get('items')
  count() {
    return this.reports.count();
  }

  @Get('items-by-fetching')
  @QueryBudget({ rows: 10_000 })
  countByFetching() {
    return this.reports.countByFetching();
  }

  /** More than `forRoot()` allows, for a while: a ceiling, a ticket, an owner and an end. */
  @Get('monthly')
  @QueryBudget.exempt({
    queries: 200,
    issue: 'https://tickets.example/SHOP-12',
    owner: 'reporting',
    until: '2027-01-31',
  })
  monthly() {
    return this.reports.ordersPerDay(150);
  }
}
