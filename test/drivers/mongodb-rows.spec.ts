import { BSON } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { GrowthHistory } from '../../lib/cost/growth-history';
import { showDocuments } from '../../lib/drivers/mongodb/mongodb-rows';
import { valuesOf } from '../../lib/drivers/mongodb/mongodb-values';
import { short } from '../cost/evidence/unit-of-work';

const here = (): void => undefined;
const range = Array.from({ length: 8 }, (_, n) => n);
const ids = range.map(n => new BSON.ObjectId((n * 48_271 + 7).toString(16).padStart(24, 'a')));
const orders = range.map(n => ({
  _id: n,
  buyerId: ids[n],
  ['SECRET@example.com']: ids[n],
  ref: { ['a@b.c']: ids[n] },
}));

/** What is found where a list is answered so, and each of its buyers is asked for. */
function foundIn(
  answer: object,
  count: number,
  command: object = { find: 'orders', filter: {} },
  asked = ids,
): string[] {
  const ledger = new CostLedger();
  ledger.history = new GrowthHistory();
  ledger.comparesValues = true;
  const run = (table: string, of: Readonly<Record<string, unknown>>): ReturnType<CostLedger['begin']> => {
    const [name = ''] = Object.keys(of);
    const charge = ledger.begin({ shape: `${name} ${table}`, table, operation: name, kind: 'read' }, here);
    const values = valuesOf(of, 'shop')!;
    charge?.ran(values.read, values.given, values.target);
    return charge;
  };
  const list = run('orders', command as Record<string, unknown>)!;
  showDocuments(list, Object.keys(command)[0]!, command as Record<string, unknown>, answer, count);
  list.end(count);
  for (const id of asked) run('customers', { find: 'customers', filter: { _id: id } })?.end(1);
  const findings = ledger.findings();
  expect(JSON.stringify(findings)).not.toMatch(/SECRET|@/);
  const found = findings.filter(({ confidence }) => confidence === 'proven').map(short);
  ledger.releaseValues();
  return found;
}

const named = ['proven customers < orders.buyerId'];

describe.each<[string, (answer: object) => object]>([
  ['bytes', answer => ({ bson: BSON.serialize(answer) })],
  ['documents, as older versions give them', answer => answer],
])('an answer of %s', (_, form) => {
  it.each<[string, object, object?]>([
    ['the first batch', { cursor: { firstBatch: orders, id: 0 }, ok: 1 }],
    ['another batch', { cursor: { nextBatch: orders, id: 0 }, ok: 1 }, { getMore: 1n, collection: 'orders' }],
    ['an aggregation', { cursor: { firstBatch: orders, id: 0 } }, { aggregate: 'orders', pipeline: [] }],
    ['values', { values: ids, ok: 1 }, { distinct: 'orders', key: 'buyerId', query: {} }],
    ['wide documents', { cursor: { firstBatch: orders.map(one => ({ ...one, body: 'x'.repeat(5_000) })) } }],
  ])('is read: %s', (__, answer, command) => {
    expect(foundIn(form(answer), 8, command)).toEqual(named);
  });

  it('is read: one document with a list', () => {
    const answer = { value: { _id: 1, lines: ids.map(customerId => ({ customerId })) }, ok: 1 };
    const command = { findAndModify: 'orders', query: { _id: 1 } };
    // One row gives all the values.
    expect(foundIn(form(answer), 1, command)).toEqual(['proven customers < orders.lines.customerId']);
  });

  it('is nothing where it has no documents, or no document', () => {
    for (const answer of [{ ok: 1 }, { cursor: { firstBatch: [] } }, { value: null }, { cursor: 1 }]) {
      for (const count of [0, 1, 8]) expect(foundIn(form(answer), count)).toEqual([]);
    }
  });
});

it('is read where documents are given as bytes', () => {
  const firstBatch = orders.map(order => Buffer.from(BSON.serialize(order)));
  expect(foundIn({ cursor: { firstBatch } }, 8)).toEqual(named);
});

it('holds up to bytes that are cut or changed anywhere', () => {
  const bytes = BSON.serialize({ cursor: { firstBatch: orders.slice(0, 3), id: 0 }, ok: 1 });
  for (let at = 0; at < bytes.length; at++) {
    foundIn({ bson: bytes.subarray(0, at) }, 3);
    for (const value of [0, 127, 255]) {
      const changed = Buffer.from(bytes);
      changed[at] = value;
      expect(() => foundIn({ bson: changed }, 3)).not.toThrow();
    }
  }
});

it('passes over what is no key', () => {
  const others = {
    double: 1.5,
    text: 'ä'.repeat(2_000),
    bytes: Buffer.alloc(400),
    yes: true,
    nothing: null,
    pattern: /a+/i,
    code: new BSON.Code('x'),
    scoped: new BSON.Code('x', { y: 1 }),
    symbol: new BSON.BSONSymbol('s'),
    stamp: new BSON.Timestamp({ t: 1, i: 1 }),
    decimal: BSON.Decimal128.fromString('1.50'),
    least: new BSON.MinKey(),
    most: new BSON.MaxKey(),
    ref: new BSON.DBRef('orders', new BSON.ObjectId()),
    deep: { a: { b: { c: { d: { e: 1 } } } } },
    many: Array.from({ length: 200 }, (_, n) => n),
  };
  const firstBatch = orders.map(order => ({ ...others, ...order }));
  expect(foundIn({ bson: BSON.serialize({ cursor: { firstBatch } }) }, 8)).toEqual(named);
  expect(foundIn({ cursor: { firstBatch } }, 8)).toEqual(named);
});
