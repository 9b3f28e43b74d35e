import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import { type Child, Programs } from '../support/child';
import { databaseUrl, isEmbedded } from '../support/database';
import { hasRedis, redisUrl } from '../support/redis-server';
import { isReachable } from '../support/servers';
import type { Said, Seen, ServiceSettings } from './service';

const PROGRAM = 'test/across-services/service.ts';
const isCi = Boolean(process.env['CI']);
const hasNats = isCi || (await isReachable(4222));
if (!hasNats) console.warn('skipped: no NATS at port 4222; start one with `nats-server -js`');
// Three processes need a connection each.
const hasAll = hasNats && hasRedis && !isEmbedded;

const isUrl = (said: Said): said is { url: string } => 'url' in said;
const isRecord = (said: Said): said is { record: CostRecord } => 'record' in said;
const isSeen = (said: Said): said is { seen: Seen } => 'seen' in said;

describe.runIf(hasAll)('a request that goes through three services', () => {
  const children: Child<Said>[] = [];
  let programs: Programs;
  const records: Record<string, CostRecord> = {};
  const seen: Record<string, Seen> = {};
  let answer: unknown;
  let logs: string[];

  beforeAll(async () => {
    programs = new Programs(PROGRAM);
    const { hostname: host, port } = new URL(redisUrl);
    const base = {
      database: databaseUrl(),
      redis: { host, port: Number(port || 6_379) },
      nats: 'nats://127.0.0.1:4222',
      run: `${process.pid}-${Date.now()}`,
    };
    const start = async (settings: ServiceSettings): Promise<string> => {
      const child = programs.start<Said>(PROGRAM, settings);
      children.push(child);
      return (await child.hears('address', isUrl)).url;
    };
    const [shop] = await Promise.all([start({ role: 'shop', ...base }), start({ role: 'billing', ...base })]);
    await start({ role: 'mail', shop, ...base });

    const response = await fetch(`${shop}/orders/7`, {
      method: 'POST',
      headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
    });
    answer = await response.json();
    const handlers = ['ShopController.order', 'BillingController.invoice', 'MailProcessor.process'];
    for (const handler of [...handlers, 'ShopController.receipt']) {
      records[handler] = await heard(isRecord, ({ record }) => record.handler === handler);
      seen[handler] = await heardSeen(handler);
    }
    logs = children.flatMap(({ said }) => said.flatMap(line => ('log' in line ? [line.log] : [])));
  });
  afterAll(async () => {
    for (const child of children) await child.stop();
    programs.remove();
  });

  async function heard(
    is: (said: Said) => said is { record: CostRecord },
    fits: (said: { record: CostRecord }) => boolean,
  ): Promise<CostRecord> {
    const found = await Promise.any(
      children.map(child =>
        child.hears('record', (said): said is { record: CostRecord } => is(said) && fits(said)),
      ),
    );
    return found.record;
  }

  async function heardSeen(handler: string): Promise<Seen> {
    const all = children.flatMap(({ said }) => said.filter(isSeen));
    return all.find(({ seen: one }) => one.handler === handler)!.seen;
  }

  it('is answered', () => {
    expect(answer).toEqual({ invoiced: { id: '7' } });
  });

  it('has one trace id in every record and every handler', () => {
    for (const one of [...Object.values(records), ...Object.values(seen)]) {
      expect(one.traceId).toBe('0af7651916cd43dd8448eb211c80319c');
    }
    expect(new Set(Object.values(records).map(({ spanId }) => spanId)).size).toBe(4);
  });

  it.each([
    ['BillingController.invoice', 'ShopController.order', 'rpc'],
    ['MailProcessor.process', 'BillingController.invoice', 'job'],
    ['ShopController.receipt', 'MailProcessor.process', 'http'],
  ])('has %s below %s', (child, parent, kind) => {
    expect(records[child]).toMatchObject({ kind, parentSpanId: records[parent]!.spanId });
    expect(seen[child]!.spanId).toBe(records[child]!.spanId);
  });

  it('names the unit of work that asked, where it asked by a message or a job', () => {
    expect(records['BillingController.invoice']!.parentRequestId).toBe(
      seen['ShopController.order']!.requestId,
    );
    expect(records['MailProcessor.process']!.parentRequestId).toBe(
      seen['BillingController.invoice']!.requestId,
    );
  });

  it('charges its queries to the handler that made them', () => {
    const counts = Object.entries(records).map(([handler, { queries }]) => [handler, queries.count]);
    expect(Object.fromEntries(counts)).toEqual({
      'ShopController.order': 2,
      'BillingController.invoice': 3,
      'MailProcessor.process': 1,
      'ShopController.receipt': 4,
    });
  });

  it('shows what the called service cost to the caller, who has a budget for it', () => {
    expect(records['MailProcessor.process']!.remote).toMatchObject({ calls: 1, queries: 4 });
    expect(records['MailProcessor.process']!.breaches).toMatchObject([
      { dimension: 'remoteQueries', used: 4, limit: 3 },
    ]);
    expect(logs.join('\n')).toContain('MailProcessor.process: ');
  });

  it('keeps the tenant and, with a secret, the user by message and job', () => {
    for (const handler of ['BillingController.invoice', 'MailProcessor.process']) {
      expect(seen[handler]).toMatchObject({ tenant: 'acme', user: { id: 'ada' } });
    }
    expect(seen['ShopController.receipt']).not.toHaveProperty('tenant');
  });
});
