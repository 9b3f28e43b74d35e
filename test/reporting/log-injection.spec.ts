import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { validateHeaderValue } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import {
  Controller,
  Get,
  type INestApplication,
  Logger,
  type LoggerService,
  Param,
  Req,
} from '@nestjs/common';
import { WinstonModule } from 'nest-winston';
import { Logger as PinoNestLogger, LoggerModule } from 'nestjs-pino';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { createLogger, format, transports } from 'winston';
import { ContextLogger, ContextService, type CostRecord, NdjsonFileSink } from 'nestjs-async-context';
import { contextMixin } from 'nestjs-async-context/pino';
import { contextFormat, contextMeta } from 'nestjs-async-context/winston';
import { hostileStrings } from '../support/hostile-strings';
import { platforms, startApp, type TestAppOptions, until } from '../support/platforms';

type Fields = Record<string, unknown>;

const BOUND = 200;
const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;
const ACCEPTED_ID = /^[A-Za-z0-9][A-Za-z0-9_.:=+/@-]{0,199}$/;

/** An error whose class and text are what somebody else wants. */
function errorNamed(name: string): Error {
  class Named extends Error {}
  Object.defineProperty(Named, 'name', { value: name });
  return new Named(name);
}

@Controller()
class EchoController {
  readonly #logger = new Logger('Shop');

  constructor(private readonly context: ContextService) {}

  @Get('echo/:number/:text')
  echo(@Param('number') number: string, @Req() request: { headers: Fields }): never {
    const text = hostileStrings[Number(number)]!;
    this.context.setUser({ id: text } as never);
    this.#logger.log({ message: 'paid', agent: request.headers['user-agent'] });
    for (let i = 0; i < 2; i += 1) this.context.record({ system: 'x', collection: text, durationMs: 1 });
    throw errorNamed(text);
  }
}

/** All that the loggers of this process write. */
const written: string[] = [];
const stream = new Writable({
  write(chunk: Buffer, _encoding, done) {
    written.push(String(chunk));
    done();
  },
});

const winston = () =>
  createLogger({
    defaultMeta: contextMeta(),
    format: format.combine(contextFormat(), format.json()),
    transports: [new transports.Stream({ stream })],
  });

const loggers: Record<string, { options: TestAppOptions; fields(line: Fields): Fields }> = {
  'ContextLogger in JSON mode': {
    options: { nest: { logger: new ContextLogger({ json: true, colors: false }) } },
    // An object that the application logs is the message.
    fields: line =>
      typeof line['message'] === 'object' ? { ...line, ...(line['message'] as Fields) } : line,
  },
  pino: {
    options: {
      imports: [
        LoggerModule.forRoot({
          forRoutes: ['*path'],
          pinoHttp: [{ mixin: contextMixin(), autoLogging: false }, { write: text => written.push(text) }],
        }),
      ],
      configure: (app: INestApplication) => app.useLogger(app.get(PinoNestLogger)),
    },
    fields: line => line,
  },
  winston: {
    options: { nest: { logger: WinstonModule.createLogger({ instance: winston() }) as LoggerService } },
    fields: line => line,
  },
};

const COMMON: TestAppOptions = {
  controllers: [EchoController],
  canonicalLog: true,
  budget: 1,
  breachWindowMs: 0,
  reportsPerMinute: 1_000_000,
  slowAfterMs: 0,
  // Each of them fails, which is a line of its own.
  guards: { breaker: false },
  // A busy machine stalls, and would be one line more.
  stallMs: 0,
  requestId: { trust: true },
};

const folder = mkdtempSync(join(tmpdir(), 'hostile-'));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
  written.length = 0;
  Logger.overrideLogger(false);
});

/** Nest writes to the standard streams. */
function catchOutput(): void {
  for (const output of [process.stdout, process.stderr]) {
    vi.spyOn(output, 'write').mockImplementation(chunk => written.push(String(chunk)) > 0);
  }
}

/** One JSON value a line, with no control character but the newline at its end. */
function parse(text: string): Fields[] {
  // oxlint-disable-next-line no-control-regex -- it is what is looked for
  expect(text.match(/[\u0000-\u0009\u000b-\u001f]/g)).toBeNull();
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map(line => JSON.parse(line) as Fields);
}

function isHeader(text: string): boolean {
  try {
    validateHeaderValue('x', text);
    return text.length < 10_000;
  } catch {
    return false;
  }
}

const encoded = (text: string): string =>
  [...Buffer.from(text.slice(0, 10))].map(byte => `%${byte.toString(16).padStart(2, '0')}`).join('');

it('there are 60 of them', () => {
  expect(new Set(hostileStrings).size).toBe(60);
});

describe.each(Object.entries(loggers))('%s', (_name, { options, fields }) => {
  it.each(platforms)('keeps one line for each of what a request brings, on %s', async platform => {
    catchOutput();
    const test = await startApp({ ...COMMON, ...options, platform });
    written.length = 0;
    for (const [i, text] of hostileStrings.entries()) {
      const headers = isHeader(text) ? { 'x-request-id': text, 'user-agent': text } : undefined;
      const response = await fetch(`${test.url}/echo/${i}/${encoded(text) || 'empty'}`, { headers });
      expect(response.status).toBe(500);
      await response.text();
    }
    await test.records(hostileStrings.length);
    const lines = await until(
      () => written.length >= 4 * hostileStrings.length && parse(written.join('')),
      'lines',
    );
    const records = test.sink.records;
    expect(lines).toHaveLength(4 * hostileStrings.length);
    for (const [i, text] of hostileStrings.entries()) {
      const record = records[i]!;
      const id =
        isHeader(text) && ACCEPTED_ID.test(text.trim())
          ? text.trim()
          : (expect.stringMatching(UUID) as unknown);
      expect(record).toMatchObject({
        requestId: id,
        userId: text.slice(0, BOUND),
        error: text.slice(0, BOUND) || 'Error',
      });
      const own = lines.map(fields).filter(line => line['requestId'] === record.requestId);
      // nest-winston leaves the name of the logger out where Nest logs an error.
      expect(own).toHaveLength(4);
      expect([0, 2, 3].map(line => own[line]!['context'])).toEqual(['Shop', 'QueryBudget', 'Request']);
      for (const line of own)
        expect(line).toMatchObject({ userId: text.slice(0, BOUND), handler: 'EchoController.echo' });
      expect(own[3]).toMatchObject({ 'error.type': text.slice(0, BOUND) || 'Error', status: 500 });
    }
    await test.close();
  });

  it('keeps one line for each of what contextService.run() is given', async () => {
    catchOutput();
    const path = join(folder, `${Math.random()}.ndjson`);
    const test = await startApp({ ...COMMON, ...options, sinks: [new NdjsonFileSink({ path })] });
    written.length = 0;
    const context = test.app.get(ContextService);
    const logger = new Logger('Shop');
    for (const text of hostileStrings) {
      const run = () =>
        context.run({ requestId: text, handler: text, user: { id: text } as never }, () => {
          logger.log({ message: 'said', text });
          for (let i = 0; i < 2; i += 1)
            context.record({ system: text, collection: text, statement: text, durationMs: 1 });
          throw errorNamed(text);
        });
      expect(run).toThrow();
    }
    await test.close();
    const lines = parse(written.join('')).map(fields);
    const records = parse(readFileSync(path, 'utf8')) as unknown as CostRecord[];
    expect(records).toHaveLength(hostileStrings.length);
    for (const [i, text] of hostileStrings.entries()) {
      const { requestId, ...record } = records[i]!;
      const bounded = text.slice(0, BOUND);
      expect(requestId).toEqual(ACCEPTED_ID.test(text) ? text : (expect.stringMatching(UUID) as unknown));
      expect(record).toMatchObject({ handler: bounded, userId: bounded, error: bounded || 'Error' });
      const own = lines.filter(line => line['requestId'] === requestId);
      expect(own.map(line => line['context'])).toEqual(['Shop', 'QueryBudget', 'Request']);
      for (const line of own) expect(line).toMatchObject({ handler: bounded, userId: bounded });
      expect(own[0]!['text']).toBe(text);
    }
  });
});

it('the error of the application goes through, whatever its class is', async () => {
  const test = await startApp({});
  const context = test.app.get(ContextService);
  const throwing = Object.defineProperty(new Error('x'), 'constructor', {
    get: () => {
      throw new Error('of the getter');
    },
  });
  const without = Object.defineProperty(new Error('x'), 'constructor', { value: undefined });
  for (const error of [throwing, without, errorNamed(7 as never)]) {
    const run = () =>
      context.run({}, () => {
        throw error;
      });
    expect(run).toThrow(error);
  }
  expect((await test.records(3)).map(({ error }) => error)).toEqual(['Error', 'Error', 'Error']);
  await test.close();
});

it('a text log has no line, escape sequence or mark of direction of somebody else', async () => {
  catchOutput();
  const test = await startApp({ ...COMMON, nest: { logger: new ContextLogger({ colors: false }) } });
  written.length = 0;
  const context = test.app.get(ContextService);
  const logger = new Logger('Shop');
  for (const text of hostileStrings) {
    const run = () =>
      context.run({ requestId: text, handler: text, user: { id: text } as never }, () => {
        logger.log('paid');
        for (let i = 0; i < 2; i += 1)
          context.record({ system: text, collection: text, statement: text, durationMs: 1 });
        throw errorNamed(text);
      });
    expect(run).toThrow();
  }
  await test.records(hostileStrings.length);
  const text = written.join('');
  expect(text.replaceAll('\n', '').match(/\p{Cc}|[\u2028\u2029]|\p{Bidi_Control}|\p{Cs}/gu)).toBeNull();
  const lines = text.trimEnd().split('\n');
  // What stands below the headline of a breach is set in.
  expect(lines.filter(line => !/^\[Nest\] |^ {2}/.test(line))).toEqual([]);
  expect(lines.filter(line => /^\[Nest\] [^[]* LOG \[Shop\]/.test(line))).toHaveLength(hostileStrings.length);
  expect(lines.filter(line => /^\[Nest\] [^[]* ERROR \[Request\]/.test(line))).toHaveLength(
    hostileStrings.length,
  );
  await test.close();
});
