import { Controller, Get, Inject, Injectable, Query } from '@nestjs/common';
import { GrpcMethod, ClientProxyFactory, type ClientGrpcProxy, Transport } from '@nestjs/microservices';
import { Pool } from 'pg';
import { lastValueFrom, type Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget, QueryBudgetExceededError, RunInContext } from 'nestjs-async-context';
import { readGrpcTimeout, readTimeout } from '../../lib/context/request-timeout';
import { databaseUrl } from '../support/database';
import { type HeaderServer, startHeaderServer } from '../support/header-server';
import { freePort, protoPath } from '../support/message-transports';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const HOUR_MS = 3_600_000;

let pool: Pool;
let server: HeaderServer;
let seen: unknown[] = [];

const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise(resolve => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener('abort', () => resolve(signal.reason), { once: true });
  });
const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

@Injectable()
class Jobs {
  @Inject(ContextService) private readonly context!: ContextService;

  @RunInContext()
  @QueryBudget({ hard: { deadlineMs: 60_000 } })
  sooner() {
    return this.context.deadline;
  }

  @RunInContext()
  @QueryBudget({ hard: { deadlineMs: 2 * HOUR_MS } })
  later() {
    return this.context.deadline;
  }
}

@Controller()
class WorkController {
  @Inject(ContextService) private readonly context!: ContextService;

  @Get('stopped')
  @QueryBudget({ hard: { queries: 1 } })
  async stopped() {
    const asked = failure(fetch(`${server.url}/never`, { signal: this.context.signal! }));
    await pool.query('SELECT 1');
    await failure(pool.query('SELECT 1'));
    seen.push(await asked, this.context.signal!.reason);
    throw seen[0];
  }

  @Get('late')
  @QueryBudget({ hard: { deadlineMs: 40 } })
  async late() {
    seen.push(await failure(fetch(`${server.url}/never`, { signal: this.context.signal! })));
    seen.push(this.context.remainingMs);
    await pool.query('SELECT 1');
  }

  @Get('late-without-signal')
  @QueryBudget({ hard: { deadlineMs: 5 } })
  async lateWithoutSignal() {
    while (this.context.remainingMs! > 0) await new Promise(resolve => setImmediate(resolve));
    return 'all the same';
  }

  @Get('left')
  async left() {
    const { signal } = this.context;
    seen.push('here');
    seen.push(await aborted(signal!));
  }

  @Get('answered')
  @QueryBudget({ hard: { deadlineMs: HOUR_MS } })
  answered() {
    seen.push(this.context.signal);
    return String(this.context.signal === this.context.signal);
  }

  @Get('deadline')
  @QueryBudget({ hard: { deadlineMs: HOUR_MS } })
  async deadline(@Query('ask') ask?: string) {
    if (ask !== undefined) await (await fetch(ask)).text();
    const { startedAt, deadline, remainingMs } = this.context;
    return { ms: deadline!.getTime() - startedAt!.getTime(), remainingMs };
  }

  @Get('none')
  async none(@Query('ask') ask?: string) {
    if (ask !== undefined) await (await fetch(ask)).text();
    return { deadline: this.context.deadline, remainingMs: this.context.remainingMs };
  }

  @Get('run')
  @QueryBudget({ hard: { deadlineMs: HOUR_MS } })
  run() {
    const { deadline } = this.context;
    const inside = this.context.run({}, () => [this.context.deadline, this.jobs.sooner(), this.jobs.later()]);
    return [deadline, ...inside];
  }

  @Get('run/later')
  @QueryBudget({ hard: { deadlineMs: 150 } })
  async runLater(@Query('awaited') awaited?: string) {
    const later = async (): Promise<void> => {
      await aborted(AbortSignal.timeout(200));
      seen.push(await failure(pool.query('SELECT 1')), this.context.deadline);
    };
    const job = this.context.run({}, () => this.context.run({}, later));
    if (awaited !== undefined) await job;
    return 'ok';
  }

  @Inject() private readonly jobs!: Jobs;
}

interface Deadline {
  readonly ms: number;
  readonly remainingMs: number;
}

describe.each(platforms)('the deadline and the signal on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    server = await startHeaderServer((request, response) => {
      if (request.url !== '/never') response.end('ok');
    });
    test = await startApp({
      platform,
      controllers: [WorkController],
      providers: [Jobs],
      breachWindowMs: 0,
      propagate: { hosts: [`127.0.0.1:${server.port}`] },
      deadline: { trust: request => (request as { url?: string }).url?.includes('untrusted') !== true },
    });
  });
  afterAll(async () => {
    await test.close();
    await server.close();
    await pool.end();
  });

  const get = async (path: string, headers: Record<string, string> = {}) => {
    seen = [];
    const response = await fetch(`${test.url}/${path}`, { headers });
    const id = response.headers.get('x-request-id');
    const body = await response.text();
    const record = await until(() => test.sink.records.find(({ requestId }) => requestId === id), 'record');
    return { status: response.status, body, record };
  };
  const deadlineOf = async (headers: Record<string, string>, path = 'deadline'): Promise<Deadline> =>
    JSON.parse((await get(path, headers)).body) as Deadline;

  it('aborts what is asked of others when a hard limit is crossed', async () => {
    const { status } = await get('stopped');
    expect(status).toBe(503);
    expect(seen[0]).toBeInstanceOf(QueryBudgetExceededError);
    expect(seen[0]).toBe(seen[1]);
    expect(seen[0]).toMatchObject({ isHard: true, dimension: 'queries' });
  });

  it('aborts at the deadline, and rejects what is asked of a database after that', async () => {
    const { status, record } = await get('late');
    expect(status).toBe(503);
    expect(seen[0]).toMatchObject({
      name: 'QueryBudgetExceededError',
      isHard: true,
      dimension: 'deadlineMs',
      limit: 40,
    });
    expect(seen[1]).toBe(0);
    expect(record.queries.count).toBe(0);
    expect(record.breaches).toEqual([
      expect.objectContaining({
        dimension: 'deadlineMs',
        limit: 40,
        from: '@QueryBudget({ hard }) on WorkController.late',
      }),
    ]);
  });

  it('records that a deadline has passed, also where nothing was asked for after it', async () => {
    const { status, body, record } = await get('late-without-signal');
    expect([status, body]).toEqual([200, 'all the same']);
    expect(record.breaches).toHaveLength(1);
  });

  it('aborts when the client leaves', async () => {
    seen = [];
    const client = new AbortController();
    const asked = failure(fetch(`${test.url}/left`, { signal: client.signal }));
    await until(() => seen.length === 1, 'request');
    client.abort();
    await asked;
    await until(() => seen.length === 2, 'abort');
    expect(seen[1]).toMatchObject({
      name: 'AbortError',
      message: expect.stringContaining('client disconnected'),
    });
  });

  it('does not abort where all has gone well', async () => {
    expect(await get('answered')).toMatchObject({ status: 200, body: 'true' });
    expect((seen[0] as AbortSignal).aborted).toBe(false);
  });

  it('is undefined outside of any unit of work, and without one', async () => {
    const context = test.app.get(ContextService);
    expect([context.signal, context.deadline, context.remainingMs]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect((await get('none')).body).toBe('{}');
  });

  it('is inherited by run(), and never later there', async () => {
    const [own, inside, sooner, later] = (JSON.parse((await get('run')).body) as string[]).map(Date.parse);
    expect(Math.abs(inside! - own!)).toBeLessThan(5);
    expect(sooner).toBeLessThan(own! - HOUR_MS / 2);
    expect(Math.abs(later! - own!)).toBeLessThan(5);
  });

  it('is that of run() as long as the unit of work around it is open, which may wait for it', async () => {
    await get('run/later?awaited');
    expect(seen[0]).toMatchObject({ isHard: true, dimension: 'deadlineMs' });
    expect(seen[1]).toBeInstanceOf(Date);
    await get('run/later');
    await until(() => seen.length === 2, 'job that goes on after the answer');
    expect(seen).toEqual([undefined, undefined]);
  });

  it('goes to the services that are asked, as what is left', async () => {
    await get(`deadline?ask=${server.url}/told-${platform}`);
    const told = Number(server.at(`/told-${platform}`).headers['x-request-timeout']);
    expect(told).toBeGreaterThan(HOUR_MS / 2);
    expect(told).toBeLessThanOrEqual(HOUR_MS);
    await get(`none?ask=${server.url}/untold-${platform}`);
    expect(server.at(`/untold-${platform}`).headers['x-request-timeout']).toBeUndefined();
  });

  it('is the smaller of its own and that of a caller who is trusted', async () => {
    expect((await deadlineOf({ 'x-request-timeout': '60000' })).ms).toBe(60_000);
    expect((await deadlineOf({ 'grpc-timeout': '2M' })).ms).toBe(120_000);
    expect((await deadlineOf({ 'x-request-timeout': '60000', 'grpc-timeout': '2M' })).ms).toBe(60_000);
    expect((await deadlineOf({ 'x-request-timeout': String(2 * HOUR_MS) })).ms).toBe(HOUR_MS);
    expect((await deadlineOf({ 'x-request-timeout': '60000' }, 'deadline?untrusted')).ms).toBe(HOUR_MS);
    expect((await deadlineOf({ 'x-request-timeout': '60000' }, 'none')).remainingMs).toBeLessThanOrEqual(
      60_000,
    );
  });

  it.each(['', '0', '-1', '1e3', '1.5', 'soon', '60000, 70000', '99999999999', '5000000000'])(
    'ignores %j',
    async value => {
      expect((await deadlineOf({ 'x-request-timeout': value })).ms).toBe(HOUR_MS);
    },
  );

  it('stops what a caller no longer waits for', async () => {
    const { record } = await get('late-without-signal', { 'x-request-timeout': '1' });
    expect(record.breaches).toEqual([
      expect.objectContaining({ dimension: 'deadlineMs', limit: 1, from: 'x-request-timeout of the caller' }),
    ]);
  });
});

describe('a caller that nobody trusts', () => {
  it('shortens no deadline', async () => {
    const test = await startApp({ controllers: [WorkController], providers: [Jobs] });
    const response = await fetch(`${test.url}/deadline`, { headers: { 'x-request-timeout': '60000' } });
    expect(((await response.json()) as Deadline).ms).toBe(HOUR_MS);
    await test.close();
  });
});

describe('a timeout in a header', () => {
  it.each([
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3_000],
    ['1500m', 1_500],
    ['2000u', 2],
    ['5000000n', 5],
  ])('of gRPC: %s', (value, timeoutMs) => {
    expect(readGrpcTimeout(value)).toBeCloseTo(timeoutMs, 9);
  });

  it.each(['', '5', 'S', '123456789S', '1s', '1 S', '-1S', '0S', '99999999H', ['1S'], undefined])(
    'is none: %j',
    value => {
      expect(readGrpcTimeout(value)).toBeUndefined();
      expect(readTimeout(value === '5' ? '' : value)).toBeUndefined();
    },
  );
});

@Controller()
class EchoController {
  @Inject(ContextService) private readonly context!: ContextService;

  @GrpcMethod('Echo', 'Ask')
  ask() {
    return { json: JSON.stringify({ remainingMs: this.context.remainingMs }) };
  }
}

interface EchoService {
  ask(question: object, metadata?: unknown, options?: object): Observable<{ json: string }>;
}

describe.each([true, false])('the deadline of a gRPC call, trust: %s', trust => {
  it('is that of its caller where it is trusted', async () => {
    const options = { package: 'echo', protoPath, url: `127.0.0.1:${await freePort()}` };
    const test = await startApp({
      controllers: [EchoController],
      deadline: { trust },
      configure: async app => {
        app.connectMicroservice({ transport: Transport.GRPC, options });
        await app.startAllMicroservices();
      },
    });
    const client = ClientProxyFactory.create({
      transport: Transport.GRPC,
      options,
    }) as unknown as ClientGrpcProxy;
    const { Metadata } = await import('@grpc/grpc-js');
    const echo = client.getService<EchoService>('Echo');
    const asked = echo.ask({ text: 'when' }, new Metadata(), { deadline: Date.now() + 60_000 });
    const { remainingMs } = JSON.parse((await lastValueFrom(asked)).json) as { remainingMs?: number };
    if (trust) expect(remainingMs).toBeGreaterThan(1_000);
    if (trust) expect(remainingMs).toBeLessThanOrEqual(60_000);
    else expect(remainingMs).toBeUndefined();
    client.close();
    await test.close();
  });
});
