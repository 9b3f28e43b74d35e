import { Controller, type DynamicModule, Get, Inject, Param } from '@nestjs/common';
import { createObserveModule } from '@nestjs/observe';
import { context as otel, createContextKey as otelKey, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { ClsModule, ClsService } from 'nestjs-cls-7';
import { LoggerModule as PinoModule } from 'nestjs-pino';
import { createServer } from 'node:http';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextModule, ContextService, MemorySink } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

@Controller()
class BothController {
  constructor(
    private readonly context: ContextService,
    private readonly cls: ClsService,
  ) {}

  @Get()
  async get() {
    this.cls.set('mine', this.context.requestId);
    await new Promise(resolve => setTimeout(resolve, Math.random() * 5));
    return { ours: this.context.requestId, theirs: this.cls.get<string>('mine'), id: this.cls.getId() };
  }
}

@Controller()
class PlainController {
  constructor(private readonly context: ContextService) {}

  @Get()
  async get() {
    await new Promise(resolve => setTimeout(resolve, Math.random() * 5));
    return { ours: this.context.requestId, handler: this.context.handler };
  }
}

async function askAtOnce<T>(): Promise<(T & { header: string | null })[]> {
  return Promise.all(
    Array.from({ length: 50 }, async () => {
      const response = await fetch(test.url);
      return { ...((await response.json()) as T), header: response.headers.get('x-request-id') };
    }),
  );
}

// Both packages of these tests are installed beside Nest 12.
const onNest11 = process.env['NEST'] === '11';

describe.skipIf(onNest11).each(platforms)('on %s', platform => {
  it('lives beside nestjs-cls', async () => {
    test = await startApp({
      platform,
      imports: [ClsModule.forRoot({ global: true, middleware: { mount: true, generateId: true } })],
      controllers: [BothController],
    });
    const answers = await askAtOnce<{ ours: string; theirs: string; id: string }>();
    for (const { ours, theirs, header } of answers) expect([ours, theirs]).toEqual([header, header]);
    expect(new Set(answers.map(({ id }) => id)).size).toBe(50);
    expect(await test.records(50)).toHaveLength(50);
  });

  it('lives beside the context manager of OpenTelemetry', async () => {
    const key = otelKey('mine');
    otel.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    test = await startApp({
      platform,
      controllers: [PlainController],
      configure: app => {
        app.use((_request: unknown, _response: unknown, next: () => void) =>
          otel.with(otel.active().setValue(key, 'value'), next),
        );
      },
    });
    const answers = await askAtOnce<{ ours: string }>();
    for (const { ours, header } of answers) expect(ours).toBe(header);
    otel.disable();
    trace.disable();
  });
});

describe('beside @nestjs/observe', () => {
  const collector = createServer((request, response) => {
    request.resume().on('end', () => response.setHeader('content-type', 'application/json').end('{}'));
  });
  beforeAll(() => new Promise<void>(resolve => collector.listen(0, '127.0.0.1', resolve)));
  afterAll(() => collector.close());

  it.skipIf(onNest11).each(platforms)('both see each request on %s', async platform => {
    const { port } = collector.address() as { port: number };
    const { ObserveModule, ObserveInstrument } = createObserveModule();
    test = await startApp({
      platform,
      imports: [
        ObserveModule.forRoot({
          appKey: 'test',
          appSecret: 'test',
          serviceId: 'test',
          endpoint: `http://127.0.0.1:${port}`,
        }),
      ],
      controllers: [PlainController],
      nest: { instrument: ObserveInstrument } as never,
    });
    const answers = await askAtOnce<{ ours: string; handler: string }>();
    for (const { ours, handler, header } of answers)
      expect([ours, handler]).toEqual([header, 'PlainController.get']);
    expect(await test.records(50)).toHaveLength(50);
  });
});

@Controller()
class QueryController {
  constructor(@Inject('POOL') private readonly pool: Pool) {}

  @Get(':n')
  async get(@Param('n') n: string) {
    const rows: string[] = [];
    for (let i = 0; i < 3; i++) {
      const result = await this.pool.query<{ n: string }>('SELECT $1::text AS n', [n]);
      rows.push(result.rows[0]!.n);
    }
    return rows;
  }
}

const MODULES: Record<string, () => DynamicModule> = {
  'nestjs-cls': () => ClsModule.forRoot({ global: true, middleware: { mount: true, generateId: true } }),
  'nestjs-pino': () => PinoModule.forRoot({ pinoHttp: { level: 'silent' } }),
};

describe.skipIf(onNest11).each(platforms)('a full pool on %s', platform => {
  it.each(Object.keys(MODULES).flatMap(name => [`${name}, first`, `${name}, last`]))(
    'charges each request its own, beside %s',
    async name => {
      const [which = '', order] = name.split(', ');
      const sink = new MemorySink();
      const ours = AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 5 } });
      const theirs = MODULES[which]!();
      const pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 3 });
      test = await startApp({
        platform,
        module: order === 'first' ? theirs : ours,
        imports: [order === 'first' ? ours : theirs],
        controllers: [QueryController],
        providers: [{ provide: 'POOL', useValue: pool }],
      });
      const answers = await Promise.all(
        Array.from({ length: 24 }, async (_, n) => (await fetch(`${test.url}/${n}`)).json()),
      );
      expect(answers).toEqual(Array.from({ length: 24 }, (_, n) => [`${n}`, `${n}`, `${n}`]));
      const records = await until(() => sink.records.length === 24 && sink.records, '24 records');
      expect(records.map(({ queries }) => queries.count)).toEqual(Array.from({ length: 24 }, () => 3));
      await pool.end();
    },
  );
});
