import { describe, expect, it } from 'vitest';
import { classOf, type ColumnName, entityOf, isKeyName } from '../../../lib/cost/evidence/key-names';

const nothing = (): boolean => false;

function name(text: string): ColumnName {
  const [column = '', table] = text.split('.').toReversed();
  return { table, column };
}

describe('classOf()', () => {
  it.each([
    ['items.order_id', 'orders.id', 'strong'],
    ['Item.orderId', 'Order.id', 'strong'],
    ['items.orderid', 'orders.id', 'strong'],
    ['items.order_uuid', 'sales_orders.uuid', 'strong'],
    ['items.billing_address_id', 'addresses.id', 'strong'],
    ['orders.id', 'orders.id', 'strong'],
    ['projects.id', 'tasks.project_id', 'strong'],
    ['orders.order_id', 'orders.id', 'strong'],
    ['nodes.parent_id', 'nodes.id', 'strong'],
    ['nodes.id', 'nodes.parent_id', 'strong'],
    ['items.order', 'orders.id', 'strong'],
    ['prices.product_sku', 'products.sku', 'strong'],
    ['products.sku', 'prices.product_sku', 'strong'],
    ['reviews.buyer_id', 'orders.buyer_id', 'same'],
    ['posts.author_id', 'customers.id', 'foreign'],
    ['customers.id', 'orders.buyer_id', 'foreign'],
    ['prices.sku', 'products.sku', 'namesake'],
    ['orders.status', 'statuses.status', 'namesake'],
    ['orders.total', 'payments.amount', 'none'],
    ['products.id', 'permissions.id', 'conflict'],
  ])('of %s and %s is %s', (place, source, expected) => {
    expect(classOf(name(place), name(source), nothing)).toBe(expected);
  });

  it('knows that a reference to a table of the same request is one to no other', () => {
    const isKnown = (entity: string): boolean => entity === 'order';
    expect(classOf(name('items.order_id'), name('permissions.id'), isKnown)).toBe('conflict');
    expect(classOf(name('customers.id'), name('items.order_id'), isKnown)).toBe('conflict');
    expect(classOf(name('items.order_id'), name('orders.id'), isKnown)).toBe('strong');
  });
});

it.each([
  ['orders', 'order'],
  ['public.order_items', 'item'],
  ['OrderItems', 'item'],
  ['categories', 'category'],
  ['statuses', 'status'],
  ['addresses', 'address'],
  ['people', 'person'],
  ['events_2026_01', 'event'],
  ['orders_view', 'order'],
  ['status', 'status'],
])('takes %s for a table of %s', (table, entity) => {
  expect(entityOf(table)).toBe(entity);
});

it.each([
  ['orders.id', true],
  ['items.order_id', true],
  ['orders.status', false],
  ['orders.paid', false],
])('says of %s whether it is the name of a key: %s', (text, isKey) => {
  expect(isKeyName(name(text))).toBe(isKey);
});
