import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { databaseUrl } from '../../support/database';
import { platforms } from '../../support/platforms';
import { hasRedis, redisUrl } from '../../support/redis-server';
import { type ProcessEvent, usePrograms } from './unhandled-errors/running';

const NODE = Number(process.versions.node.split('.')[0]);
const lines = readFileSync(join(import.meta.dirname, 'unhandled-errors/faults.ts'), 'utf8').split('\n');
const start = usePrograms();

/** The line of the application's source on which it loses its error. */
function placeOf(how: string): string {
  const line = lines.findIndex(text => text.endsWith(`// ${how}`)) + 1;
  return line === 0 ? '' : `at faults.ts:${line}`;
}

const HOW = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'nextTick',
  'queueMicrotask',
  'listener of an emitter',
  'bound listener of an emitter of others',
  'listener of a socket',
  'error event of a socket',
  'floating async function',
  'floating async function that fails at once',
  'promise rejected by others',
  'awaited promise rejected by others',
  'rejected with undefined',
  'rejected with a string',
  'rejected with a DOMException',
  'rejected with a frozen error',
  'thrown undefined',
  'thrown object that cannot be looked at',
  'a message like a stack',
  'a rejection handled a tick later',
  'two promises of one error',
];
/** Where Node itself does not say whose work it was, or says who opened a connection, which others may use. */
const UNKNOWN = ['listener of a socket', NODE < 24 ? 'queueMicrotask' : 'promise rejected by others'];

describe.each(platforms)('an error that nobody awaits, on %s', platform => {
  it.each([
    ['uncaughtException', ['uncaughtException']],
    ['unhandledRejection, too', ['uncaughtException', 'unhandledRejection']],
  ] as const)(
    'is reported once, with its request, handler and line, where the application listens to %s',
    async (_name, listens) => {
      const running = await start({ platform, listens, options: { requestId: { trust: true } } });
      for (const how of HOW) {
        const before = running.reports.length;
        const id = await running.lose(how);
        const found = running.reports.slice(before);
        // Without a listener Node wraps it as it has wrapped `undefined`: said in the same minute.
        const isSame = how === 'rejected with a string' && listens.length === 1;
        if (UNKNOWN.includes(how) || isSame) {
          expect(found, how).toEqual([]);
          continue;
        }
        expect(found, how).toHaveLength(1);
        const { text, message, level, requestId } = found[0]!;
        expect(level).toBe('error');
        expect(text).toMatch(/^Unhandled error in OrdersController\.lose: /);
        expect(text).toContain(`GET /lose/:how, request id ${id}`);
        expect(text).toContain(placeOf(how));
        expect(message).toMatchObject({
          handler: 'OrdersController.lose',
          requestId: id,
          route: 'GET /lose/:how',
        });
        // Written inside the context of the request, for the logger's own fields.
        expect(requestId).toBe(id);
        expect(text + JSON.stringify(message)).not.toContain('secret');
      }
    },
    60_000,
  );

  it('says what it is and what to do, in flat fields', async () => {
    const running = await start({ platform, listens: ['uncaughtException'], options: {} });
    await running.lose('floating async function');
    const { text, message } = running.reports[0]!;
    const place = `${placeOf('floating async function').slice('at '.length)} audit`;
    expect(text).toContain(
      `Unhandled error in OrdersController.lose: PaymentError (E_PAYMENT) at ${place}    req `,
    );
    expect(text).toContain('fix     await the promise, return it, or add a catch()');
    expect(message).toMatchObject({
      message: text.split('\n')[0],
      'error.type': 'PaymentError',
      'error.code': 'E_PAYMENT',
      at: place,
      origin: 'unhandledRejection',
      outcome: 'waiting',
      method: 'GET',
      suppressed: 0,
    });
    for (const value of Object.values(message as object)) expect(typeof value).not.toBe('object');
  });

  it('is said once a minute for a handler and a line, and counted in each record', async () => {
    const running = await start({ platform, listens: ['uncaughtException'], options: {} });
    for (let i = 0; i < 3; i++) await running.lose('setTimeout');
    await running.lose('setImmediate');
    expect(running.reports).toHaveLength(2);
    const records = await running.records(4);
    expect(records).toHaveLength(4);
    for (const record of records) {
      expect(record).toMatchObject({
        handler: 'OrdersController.lose',
        error: 'PaymentError',
        unhandledErrors: 1,
      });
    }
  });

  it('is reported after the answer, too, and for a job', async () => {
    const running = await start({ platform, listens: ['uncaughtException'], options: {} });
    expect(await (await fetch(`${running.url}/job`)).text()).toBe('started');
    await running.child.hears('event', (said): said is ProcessEvent => 'event' in said);
    expect(running.reports.map(({ text }) => text.split(':')[0])).toEqual(['Unhandled error in Nightly.run']);
    expect(running.reports[0]!.text).not.toContain('answer ');
  });

  it('is none in 1,000 requests that await theirs', async () => {
    const running = await start({ platform, listens: ['uncaughtException'], options: {} });
    for (let i = 0; i < 50; i++) {
      const clean = Array.from({ length: 20 }, async () => (await fetch(`${running.url}/clean`)).text());
      expect(new Set(await Promise.all(clean))).toEqual(new Set(['clean']));
    }
    const records = await running.records(1_000);
    expect(records.filter(record => 'unhandledErrors' in record)).toEqual([]);
    expect([...running.reports, ...running.events]).toEqual([]);
  });
});

// Nest 11 has its packages elsewhere, the drivers not among them.
describe.skipIf(!hasRedis || process.env['NEST'] === '11')('a floating promise of a driver', () => {
  it.each(['pg', 'ioredis', 'redis'])(
    'belongs to the request that made it, over a connection that another has opened: %s',
    async driver => {
      const running = await start({
        platform: 'fastify',
        listens: ['uncaughtException', 'unhandledRejection'],
        options: { requestId: { trust: true } },
        servers: { postgres: databaseUrl(), redis: redisUrl },
      });
      expect((await fetch(`${running.url}/open`)).status).toBe(200);
      const id = await running.hang(`driver/${driver}`);
      expect(running.reports.map(({ requestId }) => requestId)).toEqual([id]);
      expect(running.reports[0]!.text).toContain('Unhandled error in OrdersController.driver');
    },
  );
});
