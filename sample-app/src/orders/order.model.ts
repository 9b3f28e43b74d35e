import { Field, Int, ObjectType } from '@nestjs/graphql';

@ObjectType('Item')
export class ItemModel {
  @Field()
  product!: string;

  @Field(() => Int)
  quantity!: number;
}

@ObjectType('Order')
export class OrderModel {
  @Field(() => Int)
  id!: number;

  @Field()
  customer!: string;
}
