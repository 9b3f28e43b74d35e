import { Module } from '@nestjs/common';
import { OrdersModule } from '../orders/orders.module';
import { CarrierController } from './carrier.controller';
import { ShippingController } from './shipping.controller';
import { ShippingService } from './shipping.service';

@Module({
  imports: [OrdersModule],
  controllers: [ShippingController, CarrierController],
  providers: [ShippingService],
})
export class ShippingModule {}
