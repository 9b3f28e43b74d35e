import { Logger } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ContextLogger, contextLogFields, ContextService } from 'nestjs-async-context';
import { shortId } from '../../lib/reporting/report-text';
import { startApp, type TestApp } from '../support/platforms';

const IDS = / traceId=[0-9a-f]{32} spanId=[0-9a-f]{16}/;

describe('ContextLogger', () => {
  let test: TestApp;
  let context: ContextService;

  beforeAll(async () => {
    test = await startApp({});
    context = test.app.get(ContextService);
  });
  afterAll(() => test.close());

  function write(logger: ContextLogger, user: string | undefined, message = 'paid'): string {
    const written: string[] = [];
    const spy = vi
      .spyOn(process.stdout, 'write')
      .mockImplementation(chunk => written.push(String(chunk)) > 0);
    try {
      context.run(
        { requestId: 'r-1', handler: 'Orders.pay', ...(user !== undefined && { user: { id: user } }) },
        () => logger.log(message, 'Shop'),
      );
    } finally {
      spy.mockRestore();
    }
    return written.join('');
  }

  it('adds id, user and handler to a line of text, after the name of the logger', () => {
    const text = (user: string | undefined): string =>
      write(new ContextLogger({ colors: false }), user).replace(IDS, ' traceId=… spanId=…');
    expect(text('7')).toContain('[Shop] [requestId=r-1 traceId=… spanId=… userId=7 handler=Orders.pay] paid');
    expect(text(undefined)).toContain('[Shop] [requestId=r-1 traceId=… spanId=… handler=Orders.pay] paid');
  });

  it('puts the message first, for people, and the request and its handler last', () => {
    const logger = new ContextLogger({ colors: false, short: true });
    expect(write(logger, '7')).toMatch(/\[Shop\] paid {4}req r-1 Orders\.pay\n$/);
    expect(write(logger, '7', 'paid\n  in two parts')).toMatch(
      /\[Shop\] paid {4}req r-1 Orders\.pay\n {2}in two parts\n$/,
    );
    const colored = write(new ContextLogger({ colors: true, short: true }), '7');
    expect(colored).toContain('    \u001b[2mreq r-1 Orders.pay\u001b[22m');
  });

  it.each([
    ['6f1f9a3e-8d4b-4c55-9f0e-1f2a3b4c5d6e', '6f1f9a3e'],
    ['019ac2f0-7d4b-7c55-9f0e-1f2a3b4c5d6e', '1f2a3b4c5d6e'],
    ['order-4711', 'order-4711'],
  ])('shortens the id %s where it tells requests apart', (id, short) => expect(shortId(id)).toBe(short));

  it('writes no colors where there is no terminal', () => {
    expect(process.stdout.isTTY).not.toBe(true);
    expect(write(new ContextLogger(), '7')).not.toContain('\u001b');
    expect(write(new ContextLogger({ colors: true }), '7')).toContain('\u001b');
  });

  it('adds them as fields in JSON mode', () => {
    const line = JSON.parse(write(new ContextLogger({ json: true, colors: false }), '7')) as Record<
      string,
      unknown
    >;
    expect(line).toMatchObject({
      level: 'log',
      message: 'paid',
      context: 'Shop',
      requestId: 'r-1',
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
      spanId: expect.stringMatching(/^[0-9a-f]{16}$/),
      userId: '7',
      handler: 'Orders.pay',
    });
  });

  it.each(['7] handler=Admin.pay', '7\n[Nest] ERROR forged', '\u001b[31m'])(
    'keeps the user id %j in its place',
    user => {
      const text = write(new ContextLogger({ colors: false }), user);
      expect(text.split('\n')).toHaveLength(2);
      expect(text).not.toContain('\u001b');
      expect(text).toContain(`userId=${JSON.stringify(user)} handler=Orders.pay] paid`);
      const line = JSON.parse(write(new ContextLogger({ json: true, colors: false }), user)) as {
        userId: string;
      };
      expect(line.userId).toBe(user);
    },
  );

  it.each(['\u007f', '\u0085', '\u009b31m', '\u2028', '\u2029', '\u202e', '\u2066', '\ud800'])(
    'shows %j in a user id as what it is',
    user => {
      const shown = `\\u${user.charCodeAt(0).toString(16).padStart(4, '0')}${user.slice(1)}`;
      expect(write(new ContextLogger({ colors: false }), user)).toContain(`userId="${shown}" handler=`);
    },
  );

  it('calls the fields what the application wants, or leaves them out', () => {
    const fieldNames = { requestId: 'request.id', traceId: false, spanId: false, userId: 'level' } as const;
    expect(write(new ContextLogger('Own', { colors: false, fieldNames }), '7')).toContain(
      '[Shop] [request.id=r-1 level=7 handler=Orders.pay] paid',
    );
    const json = write(new ContextLogger({ json: true, colors: false, fieldNames }), '7');
    expect(JSON.parse(json)).toMatchObject({ level: 'log', 'request.id': 'r-1', handler: 'Orders.pay' });
    expect(json).not.toContain('traceId');
    expect(() => new ContextLogger({ fieldNames: { handler: '' } })).toThrow(
      expect.objectContaining({ code: 'ASYNC_CONTEXT_INVALID_OPTION' }),
    );
  });

  it('is injected as ConsoleLogger is', async () => {
    const own = await startApp({ providers: [ContextLogger] });
    const logger = await own.app.resolve(ContextLogger);
    expect(write(logger, '7')).toContain('userId=7');
    await own.close();
    Logger.overrideLogger(test.logs);
  });

  it.each([200, 201])('keeps 200 characters of a user id of %i', length => {
    const line = JSON.parse(write(new ContextLogger({ json: true, colors: false }), 'x'.repeat(length))) as {
      userId: string;
    };
    expect(line.userId).toBe('x'.repeat(200));
  });

  it('writes as ConsoleLogger does outside of any unit of work', () => {
    expect(contextLogFields()).toBeUndefined();
    const written: string[] = [];
    const spy = vi
      .spyOn(process.stdout, 'write')
      .mockImplementation(chunk => written.push(String(chunk)) > 0);
    new ContextLogger({ colors: false }).log('started', 'Shop');
    spy.mockRestore();
    expect(written.join('')).toContain('[Shop] started');
  });

  it('serves as the logger of an application', async () => {
    const own = await startApp({ nest: { logger: new ContextLogger({ json: true, colors: false }) } });
    const written: string[] = [];
    const spy = vi
      .spyOn(process.stdout, 'write')
      .mockImplementation(chunk => written.push(String(chunk)) > 0);
    own.app.get(ContextService).run({ requestId: 'r-2' }, () => new Logger('Shop').log('through Nest'));
    spy.mockRestore();
    expect(JSON.parse(written.join(''))).toMatchObject({ message: 'through Nest', requestId: 'r-2' });
    await own.close();
    Logger.overrideLogger(test.logs);
  });
});
