import {
  BadRequestException,
  ConsoleLogger,
  Controller,
  Get,
  Logger,
  Param,
  Post,
  UnauthorizedException,
} from '@nestjs/common';
import nestCore from '@nestjs/core/package.json';
import { WinstonModule } from 'nest-winston';
import { createLogger, format, transports } from 'winston';
import { Writable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { AsyncContextModule, ContextService, type CostRecord, QueryBudget } from 'nestjs-async-context';
import { platforms, startApp, until } from '../support/platforms';

@Controller('orders')
class OrdersController {
  constructor(private readonly context: ContextService) {}

  @Get(':id')
  one(@Param('id') id: string): string {
    this.context.setUser({ id: '7' } as never);
    this.context.record({ system: 'postgresql', statement: 'SELECT 1', rows: 3, durationMs: 2 });
    return id;
  }

  @Get('much/:id')
  @QueryBudget({ queries: 1, rows: 1 })
  much(): string {
    for (let i = 0; i < 2; i += 1) {
      this.context.record({ system: 'postgresql', statement: 'SELECT 1', rows: 3, durationMs: 2 });
    }
    return 'much';
  }

  @Post('bad')
  bad(): string {
    throw new BadRequestException('bad');
  }

  @Get('secret/area')
  secret(): string {
    throw new UnauthorizedException();
  }

  @Get('slow/:id')
  async slow(): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, 50));
  }

  @Get('broken/:id')
  broken(): string {
    throw new TypeError('no such thing');
  }
}

const UUID = /^[0-9a-f-]{36}$/;
const TRACE = /^[0-9a-f]{32}$/;

type Fields = Record<string, unknown>;

describe.each(platforms)('the canonical line on %s', platform => {
  async function linesOf(paths: readonly string[], more: Parameters<typeof startApp>[0] = {}) {
    const test = await startApp({ platform, controllers: [OrdersController], canonicalLog: true, ...more });
    for (const path of paths) {
      const method = path.endsWith('bad') ? 'POST' : 'GET';
      await (await fetch(test.url + path, { method })).text();
    }
    const records = await test.records(paths.length);
    const lines = test.logs.lines.filter(({ context }) => context === 'Request');
    return { test, records, lines };
  }

  it('says of each request what it was, how it ended and what it cost', async () => {
    const { test, lines, records } = await linesOf(['/orders/4711?token=secret']);
    expect(lines).toHaveLength(1);
    const fields = lines[0]!.fields!;
    expect(fields).toEqual({
      kind: 'http',
      'http.route': '/orders/:id',
      method: 'GET',
      status: 200,
      durationMs: expect.any(Number) as unknown,
      queries: 1,
      rows: 3,
      databaseMs: 2,
      handler: 'OrdersController.one',
      requestId: expect.stringMatching(UUID) as unknown,
      traceId: expect.stringMatching(TRACE) as unknown,
      spanId: expect.stringMatching(/^[0-9a-f]{16}$/) as unknown,
      userId: '7',
      aborted: false,
    });
    expect(records[0]).toMatchObject({
      requestId: fields['requestId'],
      traceId: fields['traceId'],
      spanId: fields['spanId'],
      durationMs: fields['durationMs'],
    });
    await test.close();
  });

  it('is one line of name=value in a text log', async () => {
    const { test, lines } = await linesOf(['/orders/1']);
    const text = String(lines[0]!.message);
    expect(text.replace(/=[\d.]+(?= queries)|(Id)=[0-9a-f-]+/g, '$1=…')).toBe(
      'kind=http http.route=/orders/:id method=GET status=200 durationMs=… queries=1 rows=3 databaseMs=2 ' +
        'handler=OrdersController.one requestId=… traceId=… spanId=… userId=… aborted=false',
    );
    await test.close();
  });

  it('is information, a warning or an error by how the request ended', async () => {
    const paths = [
      '/orders/1',
      '/orders/bad',
      '/orders/secret/area',
      '/nowhere',
      '/orders/much/1',
      '/orders/broken/1',
    ];
    const { test, lines } = await linesOf(paths);
    const found = lines.map(({ level, fields }) => {
      const { status, 'error.type': error, breaches } = fields!;
      return { level, status, error, breaches };
    });
    expect(found).toEqual([
      { level: 'log', status: 200, error: undefined, breaches: undefined },
      { level: 'log', status: 400, error: 'BadRequestException', breaches: undefined },
      { level: 'log', status: 401, error: 'UnauthorizedException', breaches: undefined },
      { level: 'log', status: 404, error: 'NotFoundException', breaches: undefined },
      { level: 'warn', status: 200, error: undefined, breaches: 'queries,rows' },
      { level: 'error', status: 500, error: 'TypeError', breaches: undefined },
    ]);
    await test.close();
  });

  it('is a warning when the request was slow', async () => {
    const { test, lines } = await linesOf(['/orders/slow/1'], { slowAfterMs: 10 });
    expect(lines.map(({ level, fields }) => [level, fields!['slow']])).toEqual([['warn', 'other']]);
    await test.close();
  });

  it('is written of what the filter picks', async () => {
    const seen: CostRecord[] = [];
    const { test, lines } = await linesOf(['/orders/1', '/orders/bad'], {
      canonicalLog: record => seen.push(record) > 0 && record.status !== 200,
    });
    expect(seen).toHaveLength(2);
    expect(lines.map(({ fields }) => fields!['status'])).toEqual([400]);
    await test.close();
  });

  it('is not written by default, nor where the filter fails', async () => {
    const off = await linesOf(['/orders/1'], { canonicalLog: undefined });
    expect(off.lines).toEqual([]);
    await off.test.close();
    const failing = await linesOf(['/orders/1'], {
      canonicalLog: () => {
        throw new Error('its own');
      },
    });
    expect(failing.lines).toEqual([]);
    expect(failing.records).toHaveLength(1);
    expect(failing.test.logs.of('warn', 'AsyncContext').join()).toContain('canonicalLog failed');
    await failing.test.close();
  });
});

describe('the canonical line', () => {
  it('is written of jobs and what they end with', async () => {
    const test = await startApp({ canonicalLog: true });
    const context = test.app.get(ContextService);
    context.run({ handler: 'Night.run' }, () => undefined);
    expect(() =>
      context.run({ handler: 'Night.fail' }, () => {
        throw new RangeError('x');
      }),
    ).toThrow(RangeError);
    const lines = test.logs.lines.filter(line => line.context === 'Request');
    expect(lines.map(({ level, fields }) => [level, fields!['kind'], fields!['error.type']])).toEqual([
      ['log', 'job', undefined],
      ['error', 'job', 'RangeError'],
    ]);
    expect(String(lines[1]!.message)).toContain('handler=Night.fail');
    await test.close();
  });

  it('is a headline and fields in the JSON mode of Nest', async () => {
    const written: string[] = [];
    const test = await startApp({
      canonicalLog: true,
      nest: { logger: new ConsoleLogger({ json: true, colors: false, flattenParams: true }) },
    });
    const spy = vi
      .spyOn(process.stdout, 'write')
      .mockImplementation(chunk => written.push(String(chunk)) > 0);
    test.app.get(ContextService).run({ requestId: 'r-1' }, () => undefined);
    spy.mockRestore();
    const line = JSON.parse(written.join('')) as Fields;
    expect(line).toMatchObject(
      // That of Nest 11 has no fields.
      nestCore.version.startsWith('11.')
        ? { context: 'Request', message: expect.stringContaining('requestId=r-1') as unknown }
        : { context: 'Request', message: expect.stringMatching(/^job in /) as unknown, requestId: 'r-1' },
    );
    await test.close();
  });

  it('keeps its fields in winston, whatever the name of the handler is', async () => {
    const lines: Fields[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(JSON.parse(String(chunk)) as Fields);
        done();
      },
    });
    const instance = createLogger({ format: format.json(), transports: [new transports.Stream({ stream })] });
    const test = await startApp({
      canonicalLog: true,
      nest: { logger: WinstonModule.createLogger({ instance }) },
    });
    test.app.get(ContextService).run({ handler: '%s%d%%j' }, () => undefined);
    await until(() => lines.some(({ context }) => context === 'Request'), 'line');
    expect(lines.find(({ context }) => context === 'Request')).toMatchObject({
      handler: '%s%d%%j',
      queries: 0,
    });
    await test.close();
    Logger.overrideLogger(false);
  });

  it.each(['yes', 1, null, {}])('refuses canonicalLog: %j', canonicalLog => {
    expect(() => AsyncContextModule.forRoot({ canonicalLog: canonicalLog as never })).toThrow(
      expect.objectContaining({ code: 'ASYNC_CONTEXT_INVALID_OPTION' }),
    );
  });
});
