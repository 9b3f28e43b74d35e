import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  type Carrier,
  ContextService,
  type ContextUser,
} from 'nestjs-async-context';
import { signedText } from '../../../lib/context/carrier';
import { CarrierSigner } from '../../../lib/propagation/carrier/carrier-signer';
import { type CarrierTerm, type CarrierWay, refusalOf } from '../../../lib/propagation/carrier/carrier-term';
import { platforms, startApp, type TestApp } from '../../support/platforms';
import { Controller, Get } from '@nestjs/common';

const SECRET = 'a secret of the shop, 32 bytes  ';
const MINUTE = 60_000;
const NOW = Date.parse('2026-11-30T12:00:30Z');

const apps: TestApp[] = [];
async function service(options: AsyncContextOptions = {}): Promise<ContextService & { test: TestApp }> {
  const test = await startApp({ carrierSecret: SECRET, ...options });
  apps.push(test);
  return Object.assign(test.app.get(ContextService), { test });
}
const user = { id: 'u-1' } as ContextUser;
const carry = (from: ContextService): Carrier => from.run({ requestId: 'r-1', user }, () => from.carry());
const userOf = (to: ContextService, carrier: Carrier): unknown => to.resume(carrier, () => to.user);
const warnings = ({ test }: { test: TestApp }): string => test.logs.of('warn', 'AsyncContext').join('\n');

/** As a version signs it that knows neither time nor audience. */
function signedBefore(): Carrier {
  const text = '{"user":{"id":"u-1"}}';
  return {
    'x-request-id': 'r-1',
    'x-async-context': text,
    'x-async-context-signature': new CarrierSigner([SECRET]).sign(signedText('r-1', text)),
  };
}

/** The time alone: sockets and timers of the application go on. */
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: NOW }));
afterEach(async () => {
  vi.useRealTimers();
  for (const test of apps.splice(0)) await test.close();
});

describe('the age of a signed carrier', () => {
  const term = (maxAgeMs: Partial<CarrierTerm['maxAgeMs']> = {}): CarrierTerm => ({
    maxAgeMs: { http: 300_000, messages: 86_400_000, jobs: 2_592_000_000, ...maxAgeMs },
    takesUntimed: false,
    audiences: undefined,
  });

  it.each<[CarrierWay, number]>([
    ['http', 300_000],
    ['messages', 86_400_000],
    ['jobs', 2_592_000_000],
  ])('that came by %s is at most %d ms and two minutes', (way, most) => {
    const at = (age: number): unknown => refusalOf({ at: NOW - age }, term(), way, NOW);
    expect(at(most + 2 * MINUTE)).toBeUndefined();
    expect(at(most + 2 * MINUTE + 1)).toContain('too old');
    expect(refusalOf({ at: 0 }, term({ [way]: 0 }), way, NOW)).toBeUndefined();
  });

  it('is not negative by more than a minute', () => {
    expect(refusalOf({ at: NOW + MINUTE }, term(), 'http', NOW)).toBeUndefined();
    expect(refusalOf({ at: NOW + MINUTE + 1 }, term(), 'http', NOW)).toContain('future');
  });

  it('is at most 30 days for what is resumed, by default', async () => {
    const context = await service();
    const carrier = carry(context);
    expect(userOf(context, carrier)).toEqual(user);
    vi.setSystemTime(NOW + 30 * 24 * 60 * MINUTE);
    expect(userOf(context, carrier)).toEqual(user);
    vi.setSystemTime(NOW + 30 * 24 * 60 * MINUTE + 3 * MINUTE);
    expect(userOf(context, carrier)).toBeUndefined();
    expect(warnings(context)).toContain('it is too old');
  });

  it('is what the option says', async () => {
    const context = await service({ carrierMaxAgeMs: MINUTE });
    const carrier = carry(context);
    vi.setSystemTime(NOW + 4 * MINUTE);
    expect(userOf(context, carrier)).toBeUndefined();
  });

  it('cannot be changed on the way', async () => {
    const context = await service({ carrierMaxAgeMs: MINUTE });
    const carrier = carry(context);
    vi.setSystemTime(NOW + 10 * MINUTE);
    const text = carrier['x-async-context']?.replace(/"at":\d+/, `"at":${NOW + 10 * MINUTE}`);
    expect(userOf(context, { ...carrier, 'x-async-context': text! })).toBeUndefined();
    expect(warnings(context)).toContain('its signature does not match');
  });

  it('is the same in carriers of one unit of work', async () => {
    const context = await service();
    context.run({ user }, () => expect(context.carry()).toEqual(context.carry()));
  });

  it('is not asked of what an older version signed, until the option is given', async () => {
    const rolling = await service();
    expect(userOf(rolling, signedBefore())).toEqual(user);
    const rolledOut = await service({ carrierMaxAgeMs: { http: MINUTE } });
    expect(userOf(rolledOut, signedBefore())).toBeUndefined();
    expect(warnings(rolledOut)).toContain('it was signed without a timestamp');
  });

  it('is in a member that an older version does not look at', async () => {
    const carrier = carry(await service({ carrierAudience: 'shop' }));
    expect(JSON.parse(carrier['x-async-context']!)).toEqual({
      at: NOW - (NOW % MINUTE),
      for: 'shop',
      user: { id: 'u-1' },
    });
    const signed = signedText('r-1', carrier['x-async-context']!);
    expect(new CarrierSigner([SECRET]).fits(signed, carrier['x-async-context-signature']!)).toBe(true);
  });
});

@Controller()
class WhoController {
  constructor(private readonly context: ContextService) {}

  @Get('who')
  who(): unknown {
    return { user: this.context.user ?? null };
  }
}

describe.each(platforms)('a signed request on %s', platform => {
  it('is believed for five minutes', async () => {
    const test = await startApp({
      platform,
      carrierSecret: SECRET,
      propagate: { carrier: true, hosts: ['api.internal'] },
      requestId: { trust: true },
      controllers: [WhoController],
    });
    apps.push(test);
    const headers = carry(test.app.get(ContextService)) as Record<string, string>;
    const who = async (): Promise<unknown> => (await fetch(`${test.url}/who`, { headers })).json();
    expect(await who()).toEqual({ user: { id: 'u-1' } });
    vi.setSystemTime(NOW + 8 * MINUTE);
    expect(await who()).toEqual({ user: null });
  });
});

describe('the audience of a signed carrier', () => {
  it.each<[string, AsyncContextOptions['carrierAudience'], AsyncContextOptions['carrierAudience'], boolean]>([
    ['of whoever has the secret', undefined, undefined, true],
    ['of one name', 'shop', 'shop', true],
    ['of another name', 'shop', 'billing', false],
    ['of another name that is accepted', 'shop', ['billing', 'shop'], true],
    ['that is not the first of several', ['shop', 'billing'], 'billing', false],
    ['of no name, where one is asked for', undefined, 'shop', false],
    ['of no name, while it is rolled out', undefined, ['shop', ''], true],
    ['of a name, where none is asked for', 'shop', undefined, true],
  ])('%s', async (_, from, to, isBelieved) => {
    const sender = await service(from === undefined ? {} : { carrierAudience: from });
    const carrier = carry(sender);
    const receiver = await service(to === undefined ? {} : { carrierAudience: to });
    expect(userOf(receiver, carrier)).toEqual(isBelieved ? user : undefined);
    if (!isBelieved) expect(warnings(receiver)).toContain('it was signed for another audience');
  });

  it.each([
    ['carrierAudience', { carrierAudience: '' }],
    ['carrierAudience', { carrierAudience: [] }],
    ['carrierAudience', { carrierAudience: ['', 'shop'] }],
    ['carrierAudience', { carrierAudience: 'x'.repeat(101) }],
    ['carrierAudience', { carrierAudience: 'é' }],
    ['carrierAudience', { carrierAudience: 5 as never }],
    ['carrierMaxAgeMs', { carrierMaxAgeMs: -1 }],
    ['carrierMaxAgeMs.jobs', { carrierMaxAgeMs: { jobs: 1.5 } }],
    ['carrierMaxAgeMs.mail', { carrierMaxAgeMs: { mail: 1 } as never }],
  ])('%s is refused with %j', (path, options) => {
    expect(() => AsyncContextModule.forRoot(options)).toThrow(`forRoot({ ${path} })`);
  });
});
