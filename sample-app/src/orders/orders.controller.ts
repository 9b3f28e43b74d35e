import {
  Body,
  Controller,
  Get,
  type MessageEvent,
  ParseIntPipe,
  Post,
  Query,
  Sse,
  StreamableFile,
} from '@nestjs/common';
import { QueryBudget } from 'nestjs-async-context';
import { Readable } from 'node:stream';
import { type Observable, concatMap, interval, map, take } from 'rxjs';
import { OrdersService } from './orders.service';

@Controller('orders')
@QueryBudget(20)
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @Get()
  list(@Query('count', ParseIntPipe) count: number) {
    return this.orders.latestWithItems(count);
  }

  /** The N+1 twin of `list()`. */
  @Get('one-by-one')
  listOneByOne(@Query('count', ParseIntPipe) count: number) {
    return this.orders.latestWithItemsOneByOne(count);
  }

  @Post()
  create(@Body() body: { customerId: number; productIds: number[] }) {
    return this.orders.create(body.customerId, body.productIds);
  }

  @Get('export.csv')
  export(): StreamableFile {
    return new StreamableFile(Readable.from(this.orders.export(2_000)), { type: 'text/csv' });
  }

  @Sse('live')
  live(): Observable<MessageEvent> {
    return interval(100).pipe(
      take(5),
      concatMap(() => this.orders.latest(1)),
      map(data => ({ data })),
    );
  }

  @Get('broken')
  async broken(): Promise<never> {
    await this.orders.latest(1);
    throw new Error('the printer is on fire');
  }
}
