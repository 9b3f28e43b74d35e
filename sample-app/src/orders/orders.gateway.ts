import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { QueryBudget } from 'nestjs-async-context';
import { OrdersService } from './orders.service';

@WebSocketGateway({ path: '/live' })
export class OrdersGateway {
  constructor(private readonly orders: OrdersService) {}

  @SubscribeMessage('items')
  @QueryBudget(5)
  async items(@MessageBody() orderId: number) {
    return { event: 'items', data: await this.orders.items(orderId) };
  }
}
