import { Module } from '@nestjs/common';
import { OrdersController } from './orders.controller';
import { OrdersGateway } from './orders.gateway';
import { OrdersResolver } from './orders.resolver';
import { OrdersService } from './orders.service';

@Module({
  controllers: [OrdersController],
  providers: [OrdersService, OrdersResolver, OrdersGateway],
  exports: [OrdersService],
})
export class OrdersModule {}
