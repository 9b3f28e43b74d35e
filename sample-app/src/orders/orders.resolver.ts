import { Args, Int, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { QueryBudget } from 'nestjs-async-context';
import { ItemModel, OrderModel } from './order.model';
import { type Item, type Order, OrdersService } from './orders.service';

@Resolver(() => OrderModel)
@QueryBudget({ queries: 10, perTable: { order_items: 5 } })
export class OrdersResolver {
  constructor(private readonly orders: OrdersService) {}

  @Query(() => [OrderModel])
  latest(@Args('count', { type: () => Int }) count: number): Promise<Order[]> {
    return this.orders.latest(count);
  }

  /** Runs for each order of the list: it wants a DataLoader. */
  @ResolveField(() => [ItemModel])
  items(@Parent() order: OrderModel): Promise<Item[]> {
    return this.orders.items(order.id);
  }
}
