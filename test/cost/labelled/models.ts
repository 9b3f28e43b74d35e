import { Collection, EntitySchema as MikroSchema, type Ref } from '@mikro-orm/core';
import { customType, pgSchema, text, integer } from 'drizzle-orm/pg-core';
import { type Connection, Schema } from 'mongoose';
import { DataTypes, type Model, type ModelStatic, Sequelize } from 'sequelize';
import { EntitySchema } from 'typeorm';
import type { Id, IdKind } from './ids';

// TypeORM: everything that it can load by itself, lazily, eagerly or in queries of its own.

export interface CustomerRow {
  id: Id;
  name: string;
  country_id: Id;
}
export interface ProductRow {
  id: Id;
  name: string;
}
export interface ItemEntity {
  id: Id;
  quantity: number;
  order_id: Id;
  product_id: Id;
  order: OrderEntity;
  product: Promise<ProductRow>;
}
export interface OrderEntity {
  id: Id;
  status: string;
  buyer_id: Id;
  buyer: Promise<CustomerRow>;
  items: Promise<ItemEntity[]>;
}
export interface EagerOrder {
  id: Id;
  status: string;
  buyer: CustomerRow;
  items: { id: Id; product_id: Id }[];
}
export interface PaymentRow {
  id: Id;
  order_id: Id;
  amount: number;
}

export function typeormEntities(kind: IdKind) {
  const type = kind === 'uuid' ? 'uuid' : 'int';
  const id = { type, primary: true } as const;
  const key = { type } as const;
  return {
    Customer: new EntitySchema<CustomerRow>({
      name: 'Customer',
      tableName: 'customers',
      columns: { id, name: { type: String }, country_id: key },
    }),
    Product: new EntitySchema<ProductRow>({
      name: 'Product',
      tableName: 'products',
      columns: { id, name: { type: String } },
    }),
    Payment: new EntitySchema<PaymentRow>({
      name: 'Payment',
      tableName: 'payments',
      columns: { id, order_id: key, amount: { type: Number } },
    }),
    Item: new EntitySchema<ItemEntity>({
      name: 'Item',
      tableName: 'order_items',
      columns: { id, quantity: { type: Number }, order_id: key, product_id: key },
      relations: {
        order: { type: 'many-to-one', target: 'Order', joinColumn: { name: 'order_id' } },
        product: { type: 'many-to-one', target: 'Product', lazy: true, joinColumn: { name: 'product_id' } },
      },
    }),
    Order: new EntitySchema<OrderEntity>({
      name: 'Order',
      tableName: 'orders',
      columns: { id, status: { type: String }, buyer_id: key },
      relations: {
        buyer: { type: 'many-to-one', target: 'Customer', lazy: true, joinColumn: { name: 'buyer_id' } },
        items: { type: 'one-to-many', target: 'Item', lazy: true, inverseSide: 'order' },
      },
    }),
    EagerItem: new EntitySchema<{ id: Id; product_id: Id; order: EagerOrder }>({
      name: 'EagerItem',
      tableName: 'order_items',
      columns: { id, product_id: key },
      relations: { order: { type: 'many-to-one', target: 'EagerOrder', joinColumn: { name: 'order_id' } } },
    }),
    EagerOrder: new EntitySchema<EagerOrder>({
      name: 'EagerOrder',
      tableName: 'orders',
      columns: { id, status: { type: String } },
      relations: {
        buyer: { type: 'many-to-one', target: 'Customer', eager: true, joinColumn: { name: 'buyer_id' } },
        items: { type: 'one-to-many', target: 'EagerItem', eager: true, inverseSide: 'order' },
      },
    }),
  };
}

// Drizzle: a column of its own, because the type of an id differs from run to run.

export function drizzleTables(schema: string) {
  const own = pgSchema(schema);
  const id = customType<{ data: Id }>({ dataType: () => 'int' });
  return {
    customers: own.table('customers', { id: id('id'), name: text('name'), countryId: id('country_id') }),
    orders: own.table('orders', { id: id('id'), buyerId: id('buyer_id'), status: text('status') }),
    items: own.table('order_items', { id: id('id'), orderId: id('order_id'), productId: id('product_id') }),
    products: own.table('products', { id: id('id'), name: text('name'), stock: integer('stock') }),
    shipments: own.table('shipments', { id: id('id'), orderId: id('order_id'), carrier: text('carrier') }),
  };
}

// Kysely.

export interface KyselyTables {
  customers: CustomerRow;
  orders: { id: Id; buyer_id: Id; status: string };
  order_items: { id: Id; order_id: Id; product_id: Id; quantity: number };
  products: { id: Id; name: string; stock: number };
  payments: PaymentRow;
  exports: { order_id: Id; format: string };
}

// Sequelize.

export interface SequelizeOrder extends Model {
  id: Id;
  buyer_id: Id;
  getItems(): Promise<SequelizeItem[]>;
  getBuyer(): Promise<Model>;
}
export interface SequelizeItem extends Model {
  id: Id;
  product_id: Id;
}
export interface SequelizeModels {
  Order: ModelStatic<SequelizeOrder>;
  Item: ModelStatic<SequelizeItem>;
  Customer: ModelStatic<Model>;
  Product: ModelStatic<Model>;
}

export function sequelizeModels(db: Sequelize, kind: IdKind): SequelizeModels {
  const type = kind === 'uuid' ? DataTypes.UUID : DataTypes.INTEGER;
  const id = { type, primaryKey: true };
  const plain = { timestamps: false };
  const Customer = db.define('Customer', { id, name: DataTypes.TEXT }, { ...plain, tableName: 'customers' });
  const Product = db.define('Product', { id, name: DataTypes.TEXT }, { ...plain, tableName: 'products' });
  const Order = db.define<SequelizeOrder>(
    'Order',
    { id, status: DataTypes.TEXT, buyer_id: type },
    { ...plain, tableName: 'orders' },
  );
  const Item = db.define<SequelizeItem>(
    'Item',
    { id, order_id: type, product_id: type, quantity: DataTypes.INTEGER },
    { ...plain, tableName: 'order_items' },
  );
  Order.belongsTo(Customer, { as: 'Buyer', foreignKey: 'buyer_id' });
  Order.hasMany(Item, { as: 'Items', foreignKey: 'order_id' });
  return { Order, Item, Customer, Product };
}

// MikroORM.

export class MikroCustomer {
  id!: Id;
  name!: string;
}
export class MikroItem {
  id!: Id;
  order!: Ref<MikroOrder>;
}
export class MikroOrder {
  id!: Id;
  status!: string;
  buyer!: Ref<MikroCustomer>;
  items = new Collection<MikroItem>(this);
}

export function mikroEntities(kind: IdKind) {
  const id = { type: kind === 'uuid' ? 'uuid' : 'number', primary: true } as const;
  return [
    new MikroSchema<MikroCustomer>({
      class: MikroCustomer,
      tableName: 'customers',
      properties: { id, name: { type: 'string' } },
    }),
    new MikroSchema<MikroItem>({
      class: MikroItem,
      tableName: 'order_items',
      properties: {
        id,
        order: { kind: 'm:1', entity: () => MikroOrder, fieldName: 'order_id', ref: true },
      },
    }),
    new MikroSchema<MikroOrder>({
      class: MikroOrder,
      tableName: 'orders',
      properties: {
        id,
        status: { type: 'string' },
        buyer: { kind: 'm:1', entity: () => MikroCustomer, fieldName: 'buyer_id', ref: true },
        items: { kind: '1:m', entity: () => MikroItem, mappedBy: 'order' },
      },
    }),
  ];
}

// Mongoose: its documents are those of the handlers of mongodb.

export function mongooseModels(connection: Connection, kind: IdKind) {
  const id = kind === 'uuid' ? String : Number;
  const one = <T extends object>(fields: T) => new Schema({ _id: id, ...fields }, { versionKey: false });
  return {
    Order: connection.model('Order', one({ buyerId: { type: id, ref: 'Customer' } }), 'orders'),
    Customer: connection.model('Customer', one({ name: String }), 'customers'),
    Item: connection.model('Item', one({ orderId: id, productId: id }), 'items'),
  };
}

// Prisma.

interface PrismaModel<T> {
  findMany(query?: unknown): Promise<T[]>;
  findUnique(query: unknown): Promise<T | null>;
  findFirst(query: unknown): Promise<T | null>;
  count(query?: unknown): Promise<number>;
  update(query: unknown): Promise<T>;
}

export interface PrismaShop {
  readonly order: PrismaModel<{ id: number; buyerId: number; items: { id: number; productId: number }[] }>;
  readonly customer: PrismaModel<{ id: number; name: string }>;
  readonly orderItem: PrismaModel<{ id: number; productId: number }>;
  readonly product: PrismaModel<{ id: number; name: string }>;
  $transaction<T>(work: (inside: PrismaShop) => Promise<T>): Promise<T>;
  $disconnect(): Promise<void>;
}
