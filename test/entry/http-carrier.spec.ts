import { Controller, Get, type INestApplication } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, type ContextUser, createContextKey } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, type TestAppOptions } from '../support/platforms';

const SECRET = 'a secret of the shop, 32 bytes  ';
const TENANT = createContextKey<string>('http-tenant', { carry: true });

@Controller()
class Who {
  constructor(private readonly context: ContextService) {}

  @Get()
  who() {
    const { user, requestId } = this.context;
    return { user: user ?? null, tenant: this.context.get(TENANT) ?? null, requestId };
  }
}

const apps: TestApp[] = [];
async function start(options: TestAppOptions): Promise<TestApp> {
  const test = await startApp({ controllers: [Who], ...options });
  apps.push(test);
  return test;
}
afterEach(async () => {
  for (const test of apps.splice(0)) await test.close();
});

describe.each(platforms)('the user and the values of a caller over HTTP, on %s', platform => {
  const SENDER = { carrierSecret: SECRET, propagate: { hosts: ['127.0.0.1'], carrier: true } };

  async function ask(
    from: TestAppOptions,
    to: TestAppOptions,
    send: (url: string) => Promise<Response> = url => fetch(url),
  ) {
    const [caller, called] = [await start(from), await start({ platform, ...to })];
    const context = caller.app.get(ContextService);
    const response = await context.run({ requestId: 'r-1', user: { id: 7 } as ContextUser }, () => {
      context.set(TENANT, 'acmé');
      return send(called.url);
    });
    const answer = (await response.json()) as { user: unknown; tenant: unknown; requestId: string };
    return { answer, called, record: (await called.records(1))[0]! };
  }
  const NOTHING = { user: null, tenant: null };

  it('arrive where both sides say so, signed, and name the caller in the record', async () => {
    const { answer, record } = await ask(SENDER, { carrierSecret: SECRET, propagate: { carrier: true } });
    expect(answer).toMatchObject({ user: { id: 7 }, tenant: 'acmé' });
    expect(answer.requestId).not.toBe('r-1');
    expect(record).toMatchObject({ parentRequestId: 'r-1', userId: '7' });
  });

  it('arrive under the request id header of both, and beside a trusted request id', async () => {
    const requestId = { header: 'X-Correlation-Id', trust: true };
    const { answer, record } = await ask({ ...SENDER, requestId }, { ...SENDER, requestId });
    expect(answer).toMatchObject({ user: { id: 7 }, requestId: 'r-1' });
    expect(record).not.toHaveProperty('parentRequestId');
  });

  it('stay at home by default', async () => {
    const from = { carrierSecret: SECRET, propagate: { hosts: ['127.0.0.1'] } };
    const { answer } = await ask(from, { carrierSecret: SECRET, propagate: { carrier: true } });
    expect(answer).toMatchObject(NOTHING);
  });

  it('are not taken over by default', async () => {
    const { answer } = await ask(SENDER, { carrierSecret: SECRET });
    expect(answer).toMatchObject(NOTHING);
  });

  it('are not believed with another signature, with none, or for another request', async () => {
    const to = { carrierSecret: SECRET, trustUnsignedCarriers: true, propagate: { carrier: true } };
    const other = await ask({ ...SENDER, carrierSecret: `${SECRET}!` }, to);
    expect(other.answer).toMatchObject(NOTHING);
    expect(other.called.logs.of('warn', 'AsyncContext').join()).toContain('its signature does not match');

    const text = JSON.stringify({ user: { id: 'root' } });
    for (const headers of [
      { 'x-async-context': text, 'x-request-id': 'r-1' },
      { 'x-async-context': text, 'x-request-id': 'r-1', 'x-async-context-signature': '' },
      { 'x-async-context': text, 'x-request-id': 'r-1', 'x-async-context-signature': 'a'.repeat(43) },
    ]) {
      const { answer } = await ask({}, to, url => fetch(url, { headers: headers as never }));
      expect(answer).toMatchObject(NOTHING);
    }
    // The application has given the request another id than the one that would be signed.
    const renamed = await ask(SENDER, to, url => fetch(url, { headers: { 'x-request-id': 'r-2' } }));
    expect(renamed.answer).toMatchObject(NOTHING);
  });

  it('rank below what the request itself says of its user', async () => {
    const to = { carrierSecret: SECRET, propagate: { carrier: true } };
    const configure = (app: INestApplication): void => {
      app.use((request: { user?: unknown; originalUrl?: string }, _: unknown, next: () => void) => {
        request.user = { id: 'guard' };
        next();
      });
    };
    const viaOption = await ask(SENDER, { ...to, user: () => ({ id: 'option' }) as ContextUser });
    expect(viaOption.answer.user).toEqual({ id: 'option' });
    if (platform === 'fastify') return;
    const viaGuard = await ask(SENDER, { ...to, configure });
    expect(viaGuard.answer.user).toEqual({ id: 'guard' });
  });
});
