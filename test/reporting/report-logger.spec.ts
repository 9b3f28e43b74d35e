import { Writable } from 'node:stream';
import { ConsoleLogger, Controller, Get, Logger, type LoggerService } from '@nestjs/common';
import nestCore from '@nestjs/core/package.json';
import { WinstonModule } from 'nest-winston';
import { Logger as PinoNestLogger, LoggerModule, NativeLogger } from 'nestjs-pino';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLogger, format, transports } from 'winston';
import { ContextLogger } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { platforms, startApp, type TestAppOptions, until } from '../support/platforms';

type Fields = Record<string, unknown>;

const isNest11 = nestCore.version.startsWith('11.');
const HEADLINE = /OrdersController\.list\b.*\b3\b/;
let pool: Pool;

@Controller()
class OrdersController {
  @Get('orders')
  async list(): Promise<number> {
    for (let i = 0; i < 3; i += 1) await pool.query('SELECT $1::int AS reported', [i]);
    return 3;
  }
}

const written: string[] = [];
const stream = new Writable({
  write(chunk: Buffer, _encoding, done) {
    written.push(String(chunk));
    done();
  },
});

/** As people write them: a message, and whatever else there is. */
class HandWritten implements LoggerService {
  log = (): void => undefined;
  warn(message: string, ...rest: unknown[]): void {
    written.push(['WARN', message.trim(), ...rest.filter(one => one !== undefined)].join('|'));
  }
  error(message: string, ...rest: unknown[]): void {
    written.push(['ERROR', message.trim(), ...rest.filter(one => one !== undefined)].join('|'));
  }
}

const pino = (logger: typeof PinoNestLogger | typeof NativeLogger): TestAppOptions => ({
  imports: [
    LoggerModule.forRoot({
      forRoutes: ['*path'],
      pinoHttp: [{ autoLogging: false }, { write: text => written.push(text) }],
    }),
  ],
  configure: app => app.useLogger(app.get<LoggerService>(logger)),
});
const winston = () =>
  createLogger({ format: format.json(), transports: [new transports.Stream({ stream })] });

/** Where a logger has the headline and the facts. */
interface JsonLogger {
  readonly options: TestAppOptions;
  readonly headline: string;
  readonly facts: (line: Fields) => Fields | undefined;
}

const flat = (line: Fields): Fields => line;
const jsonLoggers: Record<string, JsonLogger> = {
  "Nest's, in JSON mode": {
    options: { nest: { logger: new ConsoleLogger({ json: true, colors: false }) } },
    headline: 'message',
    facts: line => (isNest11 ? undefined : (line['params'] as Fields)),
  },
  "Nest's, in JSON mode with flat parameters": {
    options: { nest: { logger: new ConsoleLogger({ json: true, colors: false, flattenParams: true }) } },
    headline: 'message',
    facts: line => (isNest11 ? undefined : line),
  },
  "Nest's, in JSON mode without parameters": {
    options: { nest: { logger: new ConsoleLogger({ json: true, colors: false, structuredParams: false }) } },
    headline: 'message',
    facts: () => undefined,
  },
  'ContextLogger in JSON mode': {
    options: { nest: { logger: new ContextLogger({ json: true, colors: false }) } },
    headline: 'message',
    facts: flat,
  },
  'the Logger of nestjs-pino': { options: pino(PinoNestLogger), headline: 'msg', facts: flat },
  'the NativeLogger of nestjs-pino': {
    options: pino(NativeLogger),
    headline: 'msg',
    facts: line => line['params'] as Fields,
  },
  'nest-winston': {
    options: { nest: { logger: WinstonModule.createLogger({ instance: winston() }) } },
    headline: 'message',
    facts: flat,
  },
};

const textLoggers: Record<string, LoggerService> = {
  "Nest's": new ConsoleLogger({ colors: false }),
  ContextLogger: new ContextLogger({ colors: false }),
  'one written by hand': new HandWritten(),
};

beforeAll(() => {
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
});
afterAll(() => pool.end());
afterEach(() => {
  vi.restoreAllMocks();
  written.length = 0;
  Logger.overrideLogger(false);
});

/** Breaks a budget of 1 query and gives what the logger wrote of it. */
async function breach(options: TestAppOptions): Promise<string[]> {
  for (const output of [process.stdout, process.stderr]) {
    vi.spyOn(output, 'write').mockImplementation(chunk => written.push(String(chunk)) > 0);
  }
  const test = await startApp({ controllers: [OrdersController], budget: 1, breachWindowMs: 0, ...options });
  written.length = 0;
  expect(await (await fetch(`${test.url}/orders`)).text()).toBe('3');
  await test.records(1);
  const lines = await until(() => {
    const own = written.filter(text => text.includes('QueryBudget') || HEADLINE.test(text));
    return own.length > 0 && own;
  }, 'line');
  await test.close();
  return lines;
}

describe.each(platforms)('a report on %s', platform => {
  // nestjs-pino 5 brings its Nest 12 along.
  const known = Object.entries(jsonLoggers).filter(([name]) => !isNest11 || !name.includes('pino'));
  it.each(known)('has its headline and its facts once in %s', async (_name, one) => {
    const lines = await breach({ platform, ...one.options });
    expect(lines).toHaveLength(1);
    const line = JSON.parse(lines[0]!) as Fields;
    expect(line[one.headline]).toMatch(HEADLINE);
    const facts = one.facts(line);
    if (facts === undefined) {
      // There is no place for them; the text says the same.
      expect(line[one.headline]).toContain('SELECT ?::int AS reported');
      return;
    }
    expect(String(line[one.headline])).not.toContain('\n');
    expect(facts).toMatchObject({
      handler: 'OrdersController.list',
      route: 'GET /orders',
      'used.queries': 3,
      'limit.queries': 1,
    });
    for (const name of ['used.queries', 'requestId']) expect(lines[0]!.split(`"${name}":`)).toHaveLength(2);
  });

  it.each(Object.entries(textLoggers))('is one block of text in %s', async (_name, logger) => {
    const lines = await breach({ platform, nest: { logger } });
    expect(lines).toHaveLength(1);
    const [headline, ...rest] = lines[0]!.trimEnd().split('\n');
    expect(headline).toMatch(HEADLINE);
    expect(headline).toContain('ERROR');
    expect(rest.length).toBeGreaterThan(2);
    expect(lines[0]!.split('SELECT ?::int AS reported')).toHaveLength(2);
    expect(lines[0]).not.toMatch(/\[object|used\.queries|undefined/);
  });
});
