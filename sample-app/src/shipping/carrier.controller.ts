import { Controller, Get, Param, ParseIntPipe } from '@nestjs/common';

/** Stands for the service of another company: a route of this process, so that nothing else is to be started. */
@Controller('carrier')
export class CarrierController {
  @Get('quotes/:orderId')
  quote(@Param('orderId', ParseIntPipe) orderId: number) {
    return { orderId, cents: 450 + (orderId % 7) * 50 };
  }
}
