import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { platforms } from '../../support/platforms';
import { type ProcessEvent, type Running, usePrograms } from './unhandled-errors/running';

const start = usePrograms();
const options = { answerUnhandledErrors: true, breachWindowMs: 0 };
const INTERNAL = { statusCode: 500, message: 'Internal server error' };

describe.each(platforms)('with answerUnhandledErrors, on %s', platform => {
  let running: Running;

  async function get(path: string): Promise<[status: number, body: unknown]> {
    const response = await fetch(`${running.url}/${path}`, { signal: AbortSignal.timeout(240_000) });
    const text = await response.text();
    return [response.status, text.startsWith('{') ? JSON.parse(text) : text];
  }

  /** Long enough for whatever a handler does after its answer. */
  const afterwards = () => new Promise(resolve => setTimeout(resolve, 120));
  const unhandledErrors = () => running.events.map(({ error }) => error);
  const nestErrors = () => running.lines.filter(({ context }) => context === 'ExceptionsHandler');

  describe('a request that hangs', () => {
    it('is answered by the filters that its handler has, or by that of Nest', async () => {
      running = await start({ platform, listens: ['uncaughtException'], options });
      const answers: [path: string, status: number, body: unknown][] = [
        ['answer/never/PaymentError', 402, { by: 'method' }],
        ['answer/never/RangeError', 416, { by: 'controller' }],
        ['answer/never/SyntaxError', 422, { by: 'global' }],
        ['answer/never/EvalError', 418, { by: 'provided' }],
        ['answer/never/TypeError', 500, INTERNAL],
        ['scoped/URIError', 409, { by: 'request /scoped/URIError' }],
        ['scoped/TypeError', 500, INTERNAL],
        ['middleware/EvalError', 418, { by: 'provided' }],
        ['middleware/TypeError', 500, INTERNAL],
        ['lose/floating%20async%20function', 500, INTERNAL],
        ['lose/rejected%20with%20undefined', 500, INTERNAL],
        ['lose/thrown%20undefined', 500, INTERNAL],
      ];
      for (const [path, status, body] of answers) {
        expect(await get(path), path).toEqual([status, body]);
      }
    });

    it('is said to be answered, in the report and the record, and Nest logs the error', async () => {
      running = await start({ platform, listens: ['uncaughtException'], options });
      expect(await get('answer/never/TypeError')).toEqual([500, INTERNAL]);
      const [record] = await running.records(1);
      expect(record).toMatchObject({ status: 500, error: 'TypeError', unhandledErrors: 1, aborted: false });
      expect(running.reports).toHaveLength(1);
      expect(running.reports[0]!.text).toContain('the request was answered by its exception filters');
      expect(nestErrors()).toHaveLength(1);
    });
  });

  describe('a handler that goes on', () => {
    it('never answers a second time, and nothing comes of it', async () => {
      running = await start({ platform, listens: ['uncaughtException', 'unhandledRejection'], options });
      for (const [path, status] of [
        ['later/PaymentError', 402],
        ['later/TypeError', 500],
        ['fails/PaymentError', 402],
        ['fails/TypeError', 500],
        ['fails/slow', 422],
        ['file/PaymentError', 402],
        ['events/PaymentError', 402],
        ['by-hand/PaymentError', 402],
        ['by-hand/TypeError', 500],
        ['raw/PaymentError', 402],
        ['raw/TypeError', 500],
      ] as const) {
        const [errors, reports, logged] = [unhandledErrors(), running.reports, nestErrors()].map(
          all => all.length,
        );
        expect((await get(`answer/${path}`))[0], path).toBe(status);
        await afterwards();
        // The connection is in order: it serves the next request.
        expect(await get('clean'), path).toEqual([200, 'clean']);
        expect(unhandledErrors().length - errors!, path).toBe(1);
        expect(running.reports.length - reports!, path).toBe(1);
        expect(nestErrors().length - logged!, path).toBe(status === 500 ? 1 : 0);
      }
    });

    it('may be faster than an asynchronous filter, whose own error then is none', async () => {
      running = await start({ platform, listens: ['uncaughtException', 'unhandledRejection'], options });
      expect(await get('answer/later/slow')).toEqual([200, { by: 'handler' }]);
      await afterwards();
      expect(unhandledErrors()).toEqual(['SyntaxError: slow']);
    });
  });

  it('a response that has begun is left alone', async () => {
    running = await start({ platform, listens: ['uncaughtException'], options });
    expect(await get('answer/begun/PaymentError')).toEqual([200, 'begun and ended']);
    expect(running.reports[0]!.text).toContain(
      'the request had already ended, or its response had already started',
    );
  });

  it('the client has its answer before the process ends', async () => {
    for (const path of ['answer/never/TypeError', 'answer/never/PaymentError']) {
      running = await start({ platform, options });
      const answer = await readAll(running.url, path);
      expect(answer).toMatch(path.endsWith('TypeError') ? /^HTTP\/1\.1 500 / : /^HTTP\/1\.1 402 /);
      expect(answer).toMatch(/\r\n\r\n\{.*\}$/);
      expect(await running.child.exited).toBe(1);
    }
  });

  it('a job answers nothing', async () => {
    running = await start({ platform, listens: ['uncaughtException'], options });
    expect(await get('job')).toEqual([200, 'started']);
    await running.child.hears('event', (said): said is ProcessEvent => 'event' in said);
    expect(running.reports.map(({ text }) => text.split(':')[0])).toEqual(['Unhandled error in Nightly.run']);
  });
});

describe('without answerUnhandledErrors', () => {
  it('a request that hangs goes on hanging', async () => {
    const running = await start({ platform: 'express', listens: ['uncaughtException'], options: {} });
    const request = fetch(`${running.url}/answer/never/TypeError`, { signal: AbortSignal.timeout(500) });
    await expect(request).rejects.toThrow('timeout');
    expect(running.reports).toHaveLength(1);
  });
});

/** All that comes over a connection until it is closed, also when it is reset. */
function readAll(url: string, path: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise(resolve => {
    let text = '';
    const socket = connect(Number(port), hostname, () => {
      socket.write(`GET /${path} HTTP/1.1\r\nhost: test\r\n\r\n`);
    });
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    socket.on('error', () => undefined).on('close', () => resolve(text));
  });
}
