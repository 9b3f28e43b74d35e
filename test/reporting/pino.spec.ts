import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Get, Injectable, Logger } from '@nestjs/common';
import { Logger as PinoNestLogger, LoggerModule } from 'nestjs-pino';
import pino, { type DestinationStream } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contextLogFields, ContextService } from 'nestjs-async-context';
import { contextMixin } from 'nestjs-async-context/pino';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

type Line = Record<string, unknown>;

/** Keeps the lines that pino writes. */
class Lines {
  readonly texts: string[] = [];

  write(text: string): void {
    this.texts.push(text);
  }

  get all(): Line[] {
    return this.texts.map(text => JSON.parse(text) as Line);
  }

  get last(): Line {
    return this.all.at(-1)!;
  }
}

const SEED = { requestId: 'r-1', handler: 'Orders.pay', user: { id: '7' } };
const FIELDS = {
  requestId: 'r-1',
  traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
  spanId: expect.stringMatching(/^[0-9a-f]{16}$/) as unknown,
  userId: '7',
  handler: 'Orders.pay',
};

describe('contextMixin of pino', () => {
  let test: TestApp;
  let context: ContextService;

  beforeAll(async () => {
    test = await startApp({});
    context = test.app.get(ContextService);
  });
  afterAll(() => test.close());

  it('adds id, trace, span, user and handler to each line of a unit of work', () => {
    const lines = new Lines();
    const logger = pino({ mixin: contextMixin() }, lines);
    context.run(SEED, () => {
      logger.info('paid');
      logger.child({ part: 'bank' }).warn({ amount: 3 }, 'late');
    });
    expect(lines.all).toEqual([
      expect.objectContaining({ ...FIELDS, msg: 'paid' }),
      expect.objectContaining({ ...FIELDS, part: 'bank', amount: 3, msg: 'late' }),
    ]);
    expect(lines.all[0]!['traceId']).toBe(lines.all[1]!['traceId']);
  });

  it('adds nothing outside of any unit of work, and nothing that is not known', () => {
    const lines = new Lines();
    const logger = pino({ base: null, timestamp: false, mixin: contextMixin() }, lines);
    logger.info('started');
    expect(lines.last).toEqual({ level: 30, msg: 'started' });
    context.run({ requestId: 'r-2' }, () => logger.info('anonymous'));
    expect(Object.keys(lines.last)).toEqual(['level', 'requestId', 'traceId', 'spanId', 'msg']);
  });

  it('calls the fields what the application wants, or leaves them out', () => {
    const lines = new Lines();
    const names = { traceId: 'trace_id', spanId: 'span_id', userId: false } as const;
    const logger = pino({ base: null, timestamp: false, mixin: contextMixin(names) }, lines);
    context.run(SEED, () => logger.info('paid'));
    expect(Object.keys(lines.last)).toEqual(['level', 'requestId', 'trace_id', 'span_id', 'handler', 'msg']);
  });

  it('leaves alone what the application has set on the line', () => {
    const lines = new Lines();
    const logger = pino({ mixin: contextMixin() }, lines);
    context.run(SEED, () => logger.info({ requestId: 'its own', userId: 9 }, 'paid'));
    expect(lines.last).toMatchObject({ ...FIELDS, requestId: 'its own', userId: 9 });
  });

  it('leaves alone what the application has bound to a child logger, before and after', () => {
    const lines = new Lines();
    const child = pino({ mixin: contextMixin() }, lines).child({ requestId: 'bound' });
    context.run(SEED, () => {
      child.info('paid');
      child.setBindings({ handler: 'bound as well' });
      child.child({ part: 'bank' }).info('paid');
    });
    expect(lines.all[0]).toMatchObject({ ...FIELDS, requestId: 'bound' });
    expect(lines.all[1]).toMatchObject({ ...FIELDS, requestId: 'bound', handler: 'bound as well' });
    expect(lines.texts.join('').match(/"requestId":/g)).toHaveLength(2);
  });

  it('does not take the fields of an object that is bound for its own', () => {
    const lines = new Lines();
    const child = pino({ mixin: contextMixin() }, lines).child({ req: { requestId: 'of another' } });
    context.run(SEED, () => child.info('paid'));
    expect(lines.last).toMatchObject({ ...FIELDS, req: { requestId: 'of another' } });
  });

  it('writes the line of each unit of work with its own id through a worker thread', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pino-'));
    const destination = join(folder, 'app.log');
    const transport = pino.transport({
      target: 'pino/file',
      options: { destination },
    }) as DestinationStream & NodeJS.EventEmitter & { end(): void };
    const logger = pino({ mixin: contextMixin() }, transport);
    const ids = Array.from({ length: 200 }, (_, i) => `worker-${i}`);
    await Promise.all(
      ids.map(requestId =>
        context.run({ requestId }, async () => {
          await new Promise(resolve => setTimeout(resolve, 1 + (Number(requestId.length) % 3)));
          logger.info({ own: requestId }, 'paid');
        }),
      ),
    );
    const closed = new Promise(resolve => transport.once('close', resolve));
    transport.end();
    await closed;
    const lines = readFileSync(destination, 'utf8')
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Line);
    expect(lines).toHaveLength(200);
    expect(lines.filter(line => line['own'] !== line['requestId'])).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  it.each([
    [{ requestID: 'id' }, 'requestID'],
    [{ requestId: '' }, 'requestId'],
    [{ requestId: 'x'.repeat(101) }, 'requestId'],
    [{ traceId: '__proto__' }, 'traceId'],
    [{ traceId: true }, 'traceId'],
    [{ traceId: 'id', spanId: 'id' }, 'spanId'],
    [{ traceId: 'requestId' }, 'traceId'],
  ])('refuses the names %j', (names, field) => {
    expect(() => contextMixin(names as never)).toThrow(
      expect.objectContaining({
        code: 'ASYNC_CONTEXT_INVALID_OPTION',
        message: expect.stringContaining(`contextMixin({ ${field} })`) as unknown,
      }),
    );
  });

  it('takes a name of 100 characters', () => {
    expect(() => contextMixin({ requestId: 'x'.repeat(100), userId: undefined })).not.toThrow();
  });
});

@Injectable()
class PaymentService {
  readonly #logger = new Logger('Payments');

  pay(): string {
    this.#logger.log('paid');
    return 'ok';
  }
}

@Controller()
class PaymentController {
  constructor(private readonly payments: PaymentService) {}

  @Get('pay/:id')
  pay(): string {
    return this.payments.pay();
  }
}

// nestjs-pino makes one logger a process.
const lines = new Lines();

describe.each(platforms)('nestjs-pino on %s', platform => {
  it('has one id on the lines of the application, of pino-http and in the response', async () => {
    const test = await startApp({
      platform,
      controllers: [PaymentController],
      providers: [PaymentService],
      imports: [
        LoggerModule.forRoot({
          // The default of nestjs-pino 5.2, `{/*splat}`, matches nothing on Fastify.
          forRoutes: ['*path'],
          pinoHttp: [
            {
              mixin: contextMixin(),
              genReqId: () => contextLogFields()?.requestId ?? randomUUID(),
              // Fastify has given the request an id of its own (`req-1`), which pino-http keeps.
              serializers: { req: (req: object) => ({ ...req, id: contextLogFields()?.requestId }) },
            },
            lines,
          ],
        }),
      ],
      configure: app => app.useLogger(app.get(PinoNestLogger)),
    });
    const responses = await Promise.all([1, 2, 3].map(id => fetch(`${test.url}/pay/${id}`)));
    for (const response of responses) {
      const id = response.headers.get('x-request-id');
      const own = await until(() => {
        const found = lines.all.filter(line => line['requestId'] === id);
        return found.length === 2 && found;
      }, 'lines');
      expect(own).toEqual([
        expect.objectContaining({ msg: 'paid', context: 'Payments', handler: 'PaymentController.pay' }),
        expect.objectContaining({ msg: 'request completed', handler: 'PaymentController.pay' }),
      ]);
      expect(own.map(line => (line['req'] as Line)['id'])).toEqual([id, id]);
      expect(own[0]!['traceId']).toBe(own[1]!['traceId']);
    }
    await test.close();
  });
});
