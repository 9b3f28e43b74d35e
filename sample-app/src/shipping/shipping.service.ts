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

  /** The orders come from another service; here it is this one, so that nothing else is to be started. */
  async labels(count: number, shop: string): Promise<string[]> {
    const answer = await fetch(`${shop}/orders/one-by-one?count=${count}`);
    const orders = (await answer.json()) as readonly { id: number; customer: string }[];
    return orders.map(({ id, customer }) => `${id}: ${customer}`);
  }
}
