import { describe, expect, it } from 'vitest';
import { isValueLike, withoutValues } from '../../lib/sql/value-like';
import { withoutIds } from '../../lib/drivers/published-messages';

describe('a name', () => {
  it.each([
    '42',
    'user@example.com',
    'mail to bob@example.com',
    '550e8400-e29b-41d4-a716-446655440000',
    'tenant_550E8400E29B41D4A716446655440000',
    '507f1f77bcf86cd799439011',
    'token_9f86d081884c7d659a2f',
    '378282246310005',
    'eyJhbGciOiJIUzI1NiJ9',
    'dGhlIHF1aWNrIGJyb3duIGZveA0K',
  ])('that looks like a value: %s', name => {
    expect(isValueLike(name)).toBe(true);
  });

  it.each([
    'status',
    'line_1',
    'address2',
    'orders_2024_12_31',
    'logs-20241231235959',
    'createdAt',
    'Order__Order_items__OrderItem_id1',
    'aVeryLongNameOfSomethingInCamelCaseWithOne1Digit',
    'deadbeef1',
    'ORDERS_V2_ARCHIVE_OF_2024',
  ])('that does not: %s', name => {
    expect(isValueLike(name)).toBe(false);
  });

  it.each([
    ['prices.user@example.com', '?'],
    ['items.0.price', 'items.?.price'],
    ['$set.items.507f1f77bcf86cd799439011.n', '$set.items.?.n'],
    ['logs-2024.12.31', 'logs-2024.?.?'],
    ['mail:user@example.com', 'mail:?'],
    ['plain.name', 'plain.name'],
  ])('%s becomes %s', (name, without) => {
    expect(withoutValues(name)).toBe(without);
  });

  it.each([
    ['mail:user@example.com', 'mail:*'],
    ['mail:550e8400-e29b-41d4-a716-446655440000', 'mail:*'],
    ['orders.42.created', 'orders.*.created'],
    ['send-42', '*'],
  ])('of a job or a subject, %s, becomes %s', (name, without) => {
    expect(withoutIds(name)).toBe(without);
  });
});
