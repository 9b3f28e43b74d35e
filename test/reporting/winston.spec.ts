import { Writable } from 'node:stream';
import { Controller, Get, Logger } from '@nestjs/common';
import { WinstonModule } from 'nest-winston';
import { createLogger, format, transports } from 'winston';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { contextFormat, contextMeta } from 'nestjs-async-context/winston';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

type Line = Record<string, unknown>;

const SEED = { requestId: 'r-1', handler: 'Orders.pay', user: { id: '7' } };
const FIELDS = {
  requestId: 'r-1',
  traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
  spanId: expect.stringMatching(/^[0-9a-f]{16}$/) as unknown,
  userId: '7',
  handler: 'Orders.pay',
};

/** Keeps the lines that winston writes. */
class Lines extends Writable {
  readonly all: Line[] = [];

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    for (const text of String(chunk).trimEnd().split('\n')) this.all.push(JSON.parse(text) as Line);
    done();
  }

  logger(...formats: Parameters<typeof format.combine>) {
    return createLogger({
      defaultMeta: contextMeta({ service: 'shop' }),
      format: format.combine(...formats, format.json()),
      transports: [new transports.Stream({ stream: this })],
    });
  }
}

describe('contextFormat of winston', () => {
  let test: TestApp;
  let context: ContextService;

  beforeAll(async () => {
    test = await startApp({});
    context = test.app.get(ContextService);
  });
  afterAll(() => test.close());

  it('adds id, trace, span, user and handler to each line of a unit of work', () => {
    const lines = new Lines();
    const logger = lines.logger(contextFormat());
    context.run(SEED, () => {
      logger.info('paid');
      logger.child({ part: 'bank' }).warn('late', { amount: 3 });
    });
    expect(lines.all).toEqual([
      { ...FIELDS, level: 'info', message: 'paid', service: 'shop' },
      { ...FIELDS, level: 'warn', message: 'late', service: 'shop', part: 'bank', amount: 3 },
    ]);
  });

  it('adds nothing outside of any unit of work, and nothing that is not known', () => {
    const lines = new Lines();
    const logger = lines.logger(contextFormat());
    logger.info('started');
    context.run({ requestId: 'r-2' }, () => logger.info('anonymous'));
    expect(lines.all[0]).toEqual({ level: 'info', message: 'started', service: 'shop' });
    expect(Object.keys(lines.all[1]!).sort()).toEqual(
      ['level', 'message', 'requestId', 'service', 'spanId', 'traceId'].sort(),
    );
  });

  it('calls the fields what the application wants, or leaves them out', () => {
    const lines = new Lines();
    const logger = lines.logger(contextFormat({ traceId: 'trace_id', spanId: false, userId: 'user.id' }));
    context.run(SEED, () => logger.info('paid'));
    expect(lines.all[0]).toEqual({
      level: 'info',
      message: 'paid',
      service: 'shop',
      requestId: 'r-1',
      trace_id: FIELDS.traceId,
      'user.id': '7',
      handler: 'Orders.pay',
    });
  });

  it('leaves alone what the application has set on the line or bound to a child logger', () => {
    const lines = new Lines();
    const logger = lines.logger(contextFormat()).child({ handler: 'bound' });
    context.run(SEED, () => logger.info('paid', { requestId: 'its own' }));
    expect(lines.all[0]).toMatchObject({ ...FIELDS, requestId: 'its own', handler: 'bound' });
  });

  it('keeps nothing of one unit of work on an object or an error that another logs again', () => {
    const lines = new Lines();
    const logger = lines.logger(contextFormat(), format.errors({ stack: true }));
    const shared = { message: 'paid' };
    const error = Object.assign(new Error('refused', { cause: 'bank' }), { code: 'E_BANK' });
    for (const requestId of ['r-1', 'r-2']) {
      context.run({ requestId }, () => {
        logger.log('info', shared);
        logger.error(error);
      });
    }
    expect(lines.all.map(line => line['requestId'])).toEqual(['r-1', 'r-1', 'r-2', 'r-2']);
    expect(lines.all[3]).toMatchObject({
      level: 'error',
      message: 'refused',
      code: 'E_BANK',
      stack: expect.stringContaining('winston.spec.ts') as unknown,
    });
    expect(Object.keys(shared)).not.toContain('requestId');
    expect(Object.keys(error)).not.toContain('requestId');
  });

  // What is written while a transport is busy waits in the logger, and is formatted when that one is done.
  it('gives each line its own request behind a transport that is slow', async () => {
    const seen: Line[] = [];
    const slow = new Writable({
      objectMode: true,
      write(info: Line, _encoding, done) {
        seen.push(JSON.parse(String(info[Symbol.for('message') as never])) as Line);
        setTimeout(done, 1);
      },
    });
    // A transport is a stream with a `log()`.
    const transport = Object.assign(slow, { log: () => undefined }) as never;
    const logger = createLogger({
      defaultMeta: contextMeta(),
      format: format.combine(contextFormat(), format.json()),
      transports: [transport],
    });
    const ids = Array.from({ length: 100 }, (_, i) => `slow-${i}`);
    await Promise.all(
      ids.map(requestId =>
        context.run({ requestId }, async () => {
          await new Promise(resolve => setTimeout(resolve, 1));
          logger.info('paid', { own: requestId });
        }),
      ),
    );
    logger.info('outside', { own: undefined });
    await until(() => seen.length === 101, 'lines');
    expect(seen.filter(line => line['requestId'] !== line['own'])).toEqual([]);
  });

  it('reads the context when it formats, where there is no defaultMeta of ours', () => {
    const lines = new Lines();
    const logger = createLogger({
      format: format.combine(contextFormat(), format.json()),
      transports: [new transports.Stream({ stream: lines })],
    });
    context.run(SEED, () => logger.info('paid'));
    expect(lines.all[0]).toMatchObject(FIELDS);
  });

  it('refuses a name that cannot be', () => {
    expect(() => contextFormat({ traceId: '' })).toThrow(
      expect.objectContaining({ code: 'ASYNC_CONTEXT_INVALID_OPTION' }),
    );
  });
});

@Controller()
class PaymentController {
  readonly #logger = new Logger('Payments');

  @Get('pay')
  pay(): string {
    this.#logger.log('paid');
    this.#logger.error(new Error('and refused'));
    return 'ok';
  }
}

it.each(platforms)('nest-winston has the id of the response on its lines on %s', async platform => {
  const lines = new Lines();
  const test = await startApp({
    platform,
    controllers: [PaymentController],
    nest: { logger: WinstonModule.createLogger({ instance: lines.logger(contextFormat()) }) },
  });
  const responses = await Promise.all([1, 2, 3].map(() => fetch(`${test.url}/pay`)));
  for (const response of responses) {
    const id = response.headers.get('x-request-id');
    expect(lines.all.filter(line => line['requestId'] === id)).toEqual([
      expect.objectContaining({ message: 'paid', context: 'Payments', handler: 'PaymentController.pay' }),
      expect.objectContaining({ message: 'and refused', level: 'error', handler: 'PaymentController.pay' }),
    ]);
  }
  await test.close();
  Logger.overrideLogger(test.logs);
});
