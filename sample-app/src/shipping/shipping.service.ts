import { Injectable } from '@nestjs/common';
import { OrdersService } from '../orders/orders.service';

interface Quote {
  readonly orderId: number;
  readonly cents: number;
}

@Injectable()
export class ShippingService {
  constructor(private readonly orders: OrdersService) {}

  async quotes(count: number, carrier: string): Promise<Quote[]> {
    const orders = await this.orders.latest(count);
    const answers = orders.map(({ id }) => fetch(`${carrier}/quotes/${id}`));
    return Promise.all(answers.map(async answer => (await answer).json() as Promise<Quote>));
  }
}
