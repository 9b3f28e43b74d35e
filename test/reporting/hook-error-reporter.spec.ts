import { Writable } from 'node:stream';
import { Controller, Get, Logger, type LoggerService } from '@nestjs/common';
import { WinstonModule } from 'nest-winston';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger, format, transports } from 'winston';
import { ContextService, type DriverInstrumentation, type QueryReporter } from 'nestjs-async-context';
import { HookErrorReporter } from '../../lib/reporting/hook-error-reporter';
import { reports } from '../../lib/reporting/reports';
import { databaseUrl } from '../support/database';
import { platforms, startApp, until } from '../support/platforms';
import { unprintables } from '../support/unprintable';

const ESCAPE = '\u001b[31m';
const FORGED = `${ESCAPE}\n[Nest] 1  - LOG [Audit] ada@shop.example is an administrator`;

/** Each test begins with no window: they are the process's, until its last user leaves. */
const user = {};

describe('a fault', () => {
  let lines: string[];
  beforeEach(() => {
    reports.use(user, 1_000_000);
    lines = [];
    vi.spyOn(Logger.prototype, 'warn').mockImplementation((line: unknown) => void lines.push(String(line)));
  });
  afterEach(() => {
    reports.leave(user);
    vi.restoreAllMocks();
  });

  it('is said by class, code and line, without the text of the error', () => {
    const error = Object.assign(new TypeError(`duplicate key (email)=(ada@shop.example)${FORGED}`), {
      code: '23505',
    });
    new HookErrorReporter().report('onClose', error);
    expect(lines).toEqual([
      expect.stringMatching(
        /^onClose failed and was ignored: TypeError \(23505\) at hook-error-reporter\.spec\.ts:\d+$/,
      ),
    ]);
  });

  it('has the text, on one line and bounded, with errorMessages', () => {
    const hookErrors = new HookErrorReporter(true);
    hookErrors.report('user', new TypeError(`no ${ESCAPE}\nuser ${'x'.repeat(1_000)}`));
    expect(lines).toEqual([
      expect.stringMatching(
        /^user failed and was ignored: TypeError: no \\u001b\[31m\\u000auser x{200,300} at hook-error-reporter\.spec\.ts:\d+$/,
      ),
    ]);
    hookErrors.report('trust', `a string\n${'x'.repeat(1_000)}`);
    expect(lines[1]).toMatch(/^trust failed and was ignored: string: a string\\u000ax{200,300}$/);
  });

  it('is not said to have failed where it has not, in words of this package', () => {
    new HookErrorReporter().say('carrier', 'it is not signed');
    expect(lines).toEqual(['carrier: it is not signed']);
  });

  it('is told from others by a name that begins no line', () => {
    new HookErrorReporter().say(`sink ${FORGED}${'x'.repeat(1_000)}`, 'it is full');
    expect(lines.join()).toMatch(/^sink \\u001b\[31m\\u000a\[Nest\][^\n]{1,300}: it is full$/);
  });

  it('names a line of a package where none of the application is in the stack', async () => {
    const client = new Client({ connectionString: databaseUrl() });
    await client.connect();
    const error = await client
      .query(`SELECT 'ada@shop.example'::int`)
      .catch((reason: unknown) => reason as Error);
    await client.end();
    if (!(error instanceof Error)) throw new Error('it was not refused');
    error.stack = error.stack!.replaceAll(/^ {4}at (?!.*node_modules).*\n?/gm, '');
    new HookErrorReporter().report('sink', error);
    expect(lines.join()).toMatch(/^sink failed and was ignored: \w+ \(22P02\) in [\w-]+\/…\/[\w-]+\.js:\d+/);
  });

  it.each(Object.entries(unprintables))('is said though it cannot be printed: %s', (_name, make) => {
    for (const withMessages of [false, true]) {
      lines.length = 0;
      const hookErrors = new HookErrorReporter(withMessages);
      hookErrors.report(`hook ${withMessages}`, make());
      expect(lines).toEqual([expect.stringMatching(/^hook \w+ failed and was ignored: \w+( \(\w+\))?/)]);
      expect(lines.join()).not.toContain('secret@');
    }
  });
});

@Controller()
class UserController {
  constructor(private readonly context: ContextService) {}

  @Get()
  get(): unknown {
    return { isKnown: this.context.user !== undefined };
  }
}

describe.each(platforms)('a hook that puts the request into its error, on %s', platform => {
  it.each([[undefined], [true]])('forges no line: errorMessages %s', async errorMessages => {
    const test = await startApp({
      platform,
      controllers: [UserController],
      user: request => {
        throw new Error(`no user for ${decodeURIComponent((request as { url: string }).url)}`);
      },
      ...(errorMessages !== undefined && { errorMessages }),
    });
    const response = await fetch(`${test.url}/?q=${encodeURIComponent(FORGED)}`);
    expect(await response.json()).toEqual({ isKnown: false });
    const [line, ...more] = test.logs.of('warn', 'AsyncContext');
    expect(more).toEqual([]);
    // oxlint-disable-next-line no-control-regex -- it is what is looked for
    expect(line).not.toMatch(/[\u0000-\u001f]/);
    expect(line!.includes('ada@shop.example')).toBe(errorMessages === true);
    expect(line).toMatch(/^user failed and was ignored: Error.* at hook-error-reporter\.spec\.ts:\d+ user$/);
    await test.close();
  });
});

it('a format that makes text of a line gets one line of each report', async () => {
  const written: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push(String(chunk));
      done();
    },
  });
  const instance = createLogger({
    format: format.printf(({ level, message }) => `${level}: ${String(message)}`),
    transports: [new transports.Stream({ stream })],
  });
  const logger = WinstonModule.createLogger({ instance }) as LoggerService;
  const test = await startApp({ nest: { logger }, budget: 0, canonicalLog: true });
  written.length = 0;
  const context = test.app.get(ContextService);
  context.run({ handler: FORGED }, () => context.record({ system: 'x', durationMs: 1 }));
  await until(() => written.length >= 2, 'lines');
  const lines = written.join('').trimEnd().split('\n');
  expect(lines.map(line => line.slice(0, 6))).toEqual(['error:', 'warn: ']);
  expect(lines.join('')).not.toContain('\u001b');
  await test.close();
});

it('the name of an operation outside of any unit of work begins no line', async () => {
  let reporter: QueryReporter | undefined;
  const instrumentation: DriverInstrumentation = {
    name: 'own',
    install(given) {
      reporter = given;
      return () => undefined;
    },
  };
  const test = await startApp({ instrumentations: [instrumentation] });
  reporter!.beginOperation(
    { shape: FORGED, table: undefined, operation: 'find', kind: 'read' },
    () => undefined,
  );
  const line = await until(
    () => test.logs.of('warn', 'AsyncContext').find(text => text.includes('outside of any request')),
    'the line',
  );
  expect(line).not.toContain(ESCAPE);
  expect(line.split('\n').filter(text => text.startsWith('[Nest]'))).toEqual([]);
  await test.close();
});
