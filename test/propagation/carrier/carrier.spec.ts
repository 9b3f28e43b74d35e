import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  type Carrier,
  ContextService,
  type ContextUser,
  createContextKey,
} from 'nestjs-async-context';
import { startApp, type TestApp } from '../../support/platforms';

const SECRET = 'a secret of the shop, 32 bytes  ';
const TENANT = createContextKey('tenant', { carry: true, schema: z.string().max(5_000) });
const REGION = createContextKey<string>('region', { carry: true });
const CART = createContextKey<object>('cart');
const COUNT = createContextKey('count', { carry: true, schema: z.coerce.number().int().min(1) });
const ASYNC = createContextKey('async', { carry: true, schema: z.string().refine(async () => true) });
const THROWING = createContextKey<string>('throwing', {
  carry: true,
  schema: {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate() {
        throw new Error('secret 4711');
      },
    },
  },
});

const apps: TestApp[] = [];
async function service(options: AsyncContextOptions = {}): Promise<ContextService & { test: TestApp }> {
  const test = await startApp(options);
  apps.push(test);
  return Object.assign(test.app.get(ContextService), { test });
}
afterEach(async () => {
  for (const test of apps.splice(0)) await test.close();
});

const user = (id: unknown, more: object = {}): ContextUser => ({ id, ...more }) as ContextUser;
const sizeOf = (carrier: Carrier): number =>
  Object.entries(carrier).reduce((sum, [name, value]) => sum + Buffer.byteLength(name + value), 0);
const warnings = ({ test }: { test: TestApp }): string => test.logs.of('warn', 'AsyncContext').join('\n');

describe('contextService.carry() and resume()', () => {
  it('take trace, request and declared values to another process', async () => {
    const from = await service();
    const to = await service();
    const carrier = from.run({ requestId: 'r-1', handler: 'Orders.pay', user: user(7) }, () => {
      from.set(TENANT, 'acmé\n');
      from.set(REGION, 'eu');
      from.set(CART, { secret: 1 });
      from.set('plain', 'stays');
      return { ids: { traceId: from.traceId, spanId: from.spanId }, carried: from.carry() };
    });
    // As it is after a broker.
    const arrived = JSON.parse(JSON.stringify(carrier.carried)) as Carrier;
    expect(Object.values(arrived).join('')).toMatch(/^[ -~]*$/);

    const seen = await to.resume(arrived, async () => {
      await Promise.resolve();
      return {
        traceId: to.traceId,
        own: to.requestId !== 'r-1',
        values: [to.get(TENANT), to.get(REGION), to.get(CART), to.get('plain')],
        user: to.user,
      };
    });
    expect(seen).toEqual({
      traceId: carrier.ids.traceId,
      own: true,
      values: ['acmé\n', 'eu', undefined, undefined],
      user: undefined,
    });
    const [record] = await to.test.records(1);
    expect(record).toMatchObject({
      kind: 'job',
      traceId: carrier.ids.traceId,
      parentSpanId: carrier.ids.spanId,
      parentRequestId: 'r-1',
    });
  });

  it('is empty outside of any unit of work, and resumes from nothing', async () => {
    const context = await service();
    expect(context.carry()).toEqual({});
    expect(context.resume(undefined, () => context.isActive)).toBe(true);
    const [record] = await context.test.records(1);
    expect(record).not.toHaveProperty('parentRequestId');
  });

  it('gives back what fn gives back, and throws what it throws', async () => {
    const context = await service();
    const error = new Error('theirs');
    expect(context.resume({}, () => 5)).toBe(5);
    expect(() =>
      context.resume({}, () => {
        throw error;
      }),
    ).toThrow(error);
    await expect(context.resume({}, () => Promise.reject(error))).rejects.toBe(error);
  });

  it('goes on from the carrier inside another unit of work, whose child it would be without', async () => {
    const context = await service();
    const carrier = context.run({ requestId: 'origin' }, () => context.carry());
    context.run({ requestId: 'outer' }, () => {
      context.resume(carrier, () => undefined);
      context.resume({}, () => undefined);
    });
    const records = await context.test.records(4);
    const parents = records.map(({ parentRequestId }) => parentRequestId);
    expect(parents).toEqual([undefined, 'origin', 'outer', undefined]);
  });
});

describe('the user of a carrier', () => {
  const travel = (from: ContextService, to: ContextService, who: ContextUser): unknown => {
    const carrier = from.run({ user: who }, () => from.carry());
    return to.resume(carrier, () => to.user);
  };

  it('does not leave without a secret', async () => {
    const from = await service();
    const carrier = from.run({ user: user('u-1') }, () => from.carry());
    expect(JSON.stringify(carrier)).not.toContain('u-1');
  });

  it('is only its id unless carrierUser says more', async () => {
    const plain = await service({ carrierSecret: SECRET });
    expect(travel(plain, plain, user('u-1', { password: 'hunter2' }))).toEqual({ id: 'u-1' });
    expect(travel(plain, plain, user(5n))).toEqual({ id: '5' });
    expect(travel(plain, plain, user({ nested: true }))).toBeUndefined();
    const more = await service({
      carrierSecret: SECRET,
      carrierUser: who => ({ ...who, roles: ['admin'] }),
    });
    expect(travel(more, more, user(1))).toEqual({ id: 1, roles: ['admin'] });
  });

  it('is left out, and said so, when carrierUser throws', async () => {
    const context = await service({
      carrierSecret: SECRET,
      carrierUser: () => {
        throw new Error('no');
      },
    });
    expect(travel(context, context, user(1))).toBeUndefined();
    expect(warnings(context)).toContain('carrierUser failed and was ignored: Error at carrier.spec.ts:');
  });

  it('is believed with a signature of one of the secrets', async () => {
    const old = await service({ carrierSecret: SECRET });
    const rolled = await service({ carrierSecret: ['another secret of the shop', SECRET] });
    expect(travel(old, rolled, user(1))).toEqual({ id: 1 });
    expect(travel(rolled, old, user(1))).toBeUndefined();
    // Nest has one logger a process: that of the application that was made last.
    expect(warnings(rolled)).toContain('its signature does not match');
  });

  it.each<[string, (carrier: Carrier) => Carrier]>([
    ['another user', c => ({ ...c, 'x-async-context': '{"user":{"id":"root"}}' })],
    ['another request', c => ({ ...c, 'x-request-id': 'r-2' })],
    ['no signature', c => ({ ...c, 'x-async-context-signature': undefined as never })],
    ['an empty signature', c => ({ ...c, 'x-async-context-signature': '' })],
    ['43 characters that are no base64', c => ({ ...c, 'x-async-context-signature': '!'.repeat(43) })],
    [
      'a longer signature',
      c => ({ ...c, 'x-async-context-signature': `${c['x-async-context-signature']}A` }),
    ],
    ['a signature of another text', c => ({ ...c, 'x-async-context-signature': 'A'.repeat(43) })],
  ])('and the values are not believed with %s', async (_name, change) => {
    const context = await service({ carrierSecret: SECRET });
    const carrier = context.run({ requestId: 'r-1', user: user(1) }, () => {
      context.set(REGION, 'eu');
      return context.carry();
    });
    expect(context.resume(carrier, () => [context.user, context.get(REGION)])).toEqual([{ id: 1 }, 'eu']);
    expect(context.resume(change(carrier), () => [context.user, context.get(REGION)])).toEqual([
      undefined,
      undefined,
    ]);
    expect(warnings(context)).toMatch(/it is not signed|its signature does not match/);
  });

  it('is believed without a signature when the application says so', async () => {
    const context = await service({ trustUnsignedCarriers: true });
    expect(travel(context, context, user(1))).toEqual({ id: 1 });
    const other = await service();
    expect(travel(context, other, user(1))).toBeUndefined();
  });
});

describe('the size of a carrier', () => {
  it('is at most 4,096 bytes: the longest value that fits, and one character more', async () => {
    const context = await service({ carrierSecret: SECRET });
    const carry = (length: number): Carrier =>
      context.run({ requestId: 'r-1', user: user(1) }, () => {
        context.set(TENANT, 'x'.repeat(length));
        return context.carry();
      });
    const fits = (length: number): boolean =>
      context.resume(carry(length), () => context.get(TENANT)?.length === length);
    let [least, most] = [0, 4_096];
    while (most - least > 1) {
      const middle = (least + most) >> 1;
      if (fits(middle)) least = middle;
      else most = middle;
    }
    expect(sizeOf(carry(least))).toBeGreaterThan(4_080);
    expect(sizeOf(carry(least))).toBeLessThanOrEqual(4_096);
    const without = carry(most);
    expect(sizeOf(without)).toBeLessThan(400);
    expect(context.resume(without, () => context.user)).toEqual({ id: 1 });
    expect(warnings(context)).toContain(
      'carrier, key tenant: it was left out because the carrier would exceed',
    );
  });

  it('keeps the values that fit beside one that does not', async () => {
    const context = await service();
    const carrier = context.run({}, () => {
      context.set(TENANT, 'x'.repeat(4_090));
      context.set(REGION, 'eu');
      return context.carry();
    });
    expect(context.resume(carrier, () => [context.get(TENANT), context.get(REGION)])).toEqual([
      undefined,
      'eu',
    ]);
  });
});

describe('what arrives', () => {
  const arrive = (context: ContextService, values: string): ReturnType<ContextService['get']>[] =>
    context.resume({ 'x-async-context': `{"values":${values}}` }, () =>
      [TENANT, REGION, COUNT, ASYNC, THROWING, CART].map(key => context.get(key as never)),
    );
  const none = Array.from({ length: 6 }, () => undefined);

  it('is checked and transformed by the schema of its key', async () => {
    const context = await service();
    expect(arrive(context, '{"tenant":"acme","region":["any","JSON"],"count":"3"}')).toEqual([
      'acme',
      ['any', 'JSON'],
      3,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it.each([
    ['{"tenant":5,"count":0}', 'carrier, key tenant: its schema rejected the incoming value'],
    ['{"async":"a"}', 'its schema is asynchronous'],
    ['{"throwing":"a"}', 'its schema threw'],
    ['{"cart":{"secret":1},"unknown":1,"__proto__":{"polluted":true}}', ''],
    ['[1]', ''],
    ['null', ''],
    ['"text"', ''],
    ['{', 'its x-async-context is not a JSON object'],
  ])('is left out of %s', async (values, warning) => {
    const context = await service();
    expect(arrive(context, values)).toEqual(none);
    expect(warnings(context)).toContain(warning);
    expect(warnings(context)).not.toContain('4711');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  const throwing = new Proxy(
    {},
    {
      get() {
        throw new Error('hostile');
      },
    },
  );
  it.each<[string, unknown]>([
    ['null', null],
    ['a text', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ['a number', 5],
    ['an array', []],
    [
      'fields that are no texts',
      { traceparent: ['a'], 'x-request-id': { toString: () => 'r-1' }, baggage: 1 },
    ],
    ['malformed fields', { traceparent: '00-1-2-3', 'x-request-id': 'a b\n', 'x-async-context': 'null' }],
    ['a request id of 201 characters', { 'x-request-id': 'a'.repeat(201) }],
    ['fields that are too long', { baggage: 'a'.repeat(8_193), 'x-async-context': 'a'.repeat(8_193) }],
    ['a proxy that throws', throwing],
  ])('is nothing when it is %s', async (_name, carrier) => {
    const context = await service();
    expect(context.resume(carrier as Carrier, () => [context.isActive, context.user])).toEqual([
      true,
      undefined,
    ]);
    const [record] = await context.test.records(1);
    expect(record).not.toHaveProperty('parentRequestId');
    expect(record).not.toHaveProperty('traceId');
  });

  it('is not put on a value that is no JSON', async () => {
    const context = await service();
    const carrier = context.run({}, () => {
      const circle: Record<string, unknown> = {};
      circle['self'] = circle;
      context.set(REGION, circle as never);
      context.set(COUNT, undefined as never);
      context.set(TENANT, 'acme');
      return context.carry();
    });
    expect(carrier['x-async-context']).toBe('{"values":{"tenant":"acme"}}');
    expect(warnings(context)).toContain('carrier, key region, to JSON failed and was ignored: TypeError');
  });
});

describe('the options of carriers', () => {
  it.each([
    ['15 characters', 'x'.repeat(15)],
    ['an empty list', []],
    ['a list with a short one', ['x'.repeat(16), 'short']],
    ['a number', 5],
  ])('do not take a secret of %s', (_name, carrierSecret) => {
    const forRoot = (): unknown => AsyncContextModule.forRoot({ carrierSecret: carrierSecret as string });
    expect(forRoot).toThrow(/forRoot\(\{ carrierSecret \}\) is .* at least 16 characters/);
    expect(forRoot).not.toThrow(/short|xxxx/);
  });

  it('take a secret of 16 characters', () => {
    expect(() => AsyncContextModule.forRoot({ carrierSecret: 'x'.repeat(16) })).not.toThrow();
  });

  it('take a function as carrierUser, a boolean as trustUnsignedCarriers', () => {
    expect(() => AsyncContextModule.forRoot({ carrierUser: 'id' as never })).toThrow('carrierUser');
    expect(() => AsyncContextModule.forRoot({ trustUnsignedCarriers: 1 as never })).toThrow(
      'trustUnsignedCarriers',
    );
  });
});
