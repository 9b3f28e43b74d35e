import { Controller, Get, Query, ParseIntPipe, Req } from '@nestjs/common';
import { QueryBudget } from 'nestjs-async-context';
import { ShippingService } from './shipping.service';

interface Connected {
  readonly socket: { readonly localPort?: number };
}

@Controller('shipping')
@QueryBudget({ queries: 5, http: 3 })
export class ShippingController {
  constructor(private readonly shipping: ShippingService) {}

  /** Asks the carrier once for each order. */
  @Get('quotes')
  quotes(@Query('count', ParseIntPipe) count: number, @Req() request: Connected) {
    return this.shipping.quotes(count, `http://127.0.0.1:${request.socket.localPort}/carrier`);
  }

  /** Makes no query itself: those of the service that it asks are its remote cost. */
  @Get('labels')
  @QueryBudget({ remoteQueries: 20 })
  labels(@Query('count', ParseIntPipe) count: number, @Req() request: Connected) {
    return this.shipping.labels(count, `http://127.0.0.1:${request.socket.localPort}`);
  }
}
