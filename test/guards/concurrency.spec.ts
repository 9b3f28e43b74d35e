import { type CanActivate, Controller, Get, type MessageEvent, Query, Sse, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  Concurrency,
  ConcurrencyGuard,
  ContextService,
  createContextKey,
  ProcessFigures,
} from 'nestjs-async-context';
import { request } from 'node:http';
import { Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GuardKit } from '../../lib/guards/guard-kit';
import { GUARD_KIT } from '../../lib/guards/guard-kit-token';
import {
  type Platform,
  platforms,
  startApp,
  type TestApp,
  type TestAppOptions,
  until,
} from '../support/platforms';

let running = 0;
let most = 0;
let arrived = 0;
const finishes: (() => void)[] = [];
const began: string[] = [];

/** Works until it is told to finish. */
async function work(name = ''): Promise<string> {
  began.push(name);
  running += 1;
  most = Math.max(most, running);
  await new Promise<void>(resolve => finishes.push(resolve));
  running -= 1;
  return name;
}

const finishAll = (): void => {
  for (const finish of finishes.splice(0)) finish();
};

const openGate = (): void => {
  gate.open?.();
  gate.open = undefined;
};

const TENANT = createContextKey<string>('tenant');
const gate: { open: (() => void) | undefined } = { open: undefined };

class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    await new Promise<void>(resolve => void (gate.open = resolve));
    return true;
  }
}

@Controller()
class ReportsController {
  @Get('export')
  @Concurrency({ limit: 2 })
  export(@Query('name') name?: string) {
    return work(name);
  }

  @Get('waits')
  @Concurrency({ limit: 1, waitMs: 60_000 })
  waits(@Query('name') name?: string) {
    return work(name);
  }

  @Get('impatient')
  @Concurrency({ limit: 1, waitMs: 20 })
  impatient() {
    return work();
  }

  @Get('guarded')
  @Concurrency({ limit: 1 })
  @UseGuards(SlowGuard)
  guarded() {
    return work('guarded');
  }

  @Get('tenant')
  @Concurrency({ limit: 1, by: context => context.get<string>('tenant') })
  tenant() {
    return work();
  }

  @Get('never')
  @Concurrency({ limit: 1, maxHoldMs: 30 })
  never() {
    return work();
  }

  @Get('fails')
  @Concurrency({ limit: 1 })
  fails() {
    throw new Error('of the application');
  }

  @Get('dry')
  @Concurrency({ limit: 1, dryRun: true })
  dry() {
    return work();
  }

  @Get('dry-waits')
  @Concurrency({ limit: 1, waitMs: 20, dryRun: true })
  dryWaits() {
    return work();
  }

  @Sse('events')
  @Concurrency({ limit: 1, maxHoldMs: 10 })
  events() {
    return new Observable<MessageEvent>(subscriber => subscriber.next({ data: 'one' }));
  }
}

@Controller('shared')
@Concurrency({ limit: 1 })
class SharedController {
  @Get('one')
  one() {
    return work();
  }

  @Get('two')
  two() {
    return work();
  }

  @Get('own')
  @Concurrency({ limit: 2 })
  own() {
    return work();
  }
}

async function start(platform: Platform, options: TestAppOptions = {}): Promise<TestApp> {
  running = 0;
  most = 0;
  arrived = 0;
  began.length = 0;
  finishes.length = 0;
  return startApp({
    platform,
    controllers: [ReportsController, SharedController],
    configure: app => {
      app.use((_request: unknown, _response: unknown, next: () => void) => {
        arrived += 1;
        next();
      });
    },
    ...options,
  });
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: string;
}

async function ask(test: TestApp, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${test.url}/${path}`, { headers });
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    body: await response.text(),
  };
}

/** A client that may leave. */
function visit(test: TestApp, path: string): { leave(): void } {
  const sent = request(`${test.url}/${path}`, { agent: false });
  sent.on('error', () => undefined);
  sent.on('response', response => response.on('error', () => undefined).resume());
  sent.end();
  return { leave: () => sent.destroy() };
}

describe.each(platforms)('@Concurrency() on %s', platform => {
  it('lets as many run as it says, and refuses the next', async () => {
    const test = await start(platform);
    const two = [ask(test, 'export'), ask(test, 'export')];
    await until(() => running === 2, 'two of them');
    const third = await ask(test, 'export');
    expect(third.status).toBe(503);
    expect(third.retryAfter).toBe('1');
    expect(JSON.parse(third.body)).toMatchObject({ statusCode: 503, reason: 'busy' });
    expect(running).toBe(2);
    finishAll();
    expect((await Promise.all(two)).map(({ status }) => status)).toEqual([200, 200]);
    const again = ask(test, 'export');
    await until(() => running === 1, 'one more');
    finishAll();
    expect((await again).status).toBe(200);
    const refused = (await test.records(4)).filter(record => record.refused !== undefined);
    expect(refused.map(({ refused: why, status }) => [why, status])).toEqual([
      [{ by: 'concurrency', reason: 'busy' }, 503],
    ]);
    const [line] = test.logs.of('warn', 'Guards');
    expect(line).toContain('ReportsController.export refused a request with 503');
    expect(line).toContain('slots 2, waitMs 0');
    await test.close();
  });

  it('has one wait in line, and says so where it was slow', async () => {
    const test = await start(platform, { slowAfterMs: 20 });
    const asked: Promise<Answer>[] = [];
    for (const name of ['a', 'b', 'c']) {
      asked.push(ask(test, `waits?name=${name}`));
      if (name === 'a') await until(() => running === 1, 'the first');
      else {
        await until(() => arrived === asked.length, name);
        await new Promise(resolve => setTimeout(resolve, 50));
      }
    }
    for (let turn = 1; turn <= 3; turn += 1) {
      await until(() => began.length === turn, 'the next one');
      expect(running).toBe(1);
      finishAll();
      await asked[turn - 1];
    }
    expect(began).toEqual(['a', 'b', 'c']);
    for (const answer of asked) expect((await answer).status).toBe(200);
    const records = await test.records(3);
    expect(records[0]?.time.slotMs).toBe(0);
    expect(records[2]?.time.slotMs).toBeGreaterThan(40);
    expect(records[2]?.slow?.because).toBe('slot');
    expect(test.logs.of('warn', 'SlowRequest').join()).toContain('waiting for a @Concurrency() slot');
    await test.close();
  });

  it('refuses who has waited for too long', async () => {
    const test = await start(platform);
    const first = ask(test, 'impatient');
    await until(() => running === 1, 'the first');
    const late = await ask(test, 'impatient');
    expect([late.status, JSON.parse(late.body).reason]).toEqual([503, 'waited']);
    finishAll();
    expect((await first).status).toBe(200);
    expect((await test.records(2))[0]).toMatchObject({ refused: { by: 'concurrency', reason: 'waited' } });
    await test.close();
  });

  it('lets a client that leaves give up its place', async () => {
    const test = await start(platform);
    const first = ask(test, 'waits?name=first');
    await until(() => running === 1, 'the first');
    const visitor = visit(test, 'waits?name=left');
    const figures = test.app.get(ProcessFigures);
    await until(() => arrived === 2, 'visitor');
    visitor.leave();
    await until(() => figures.refusals.some(({ reason }) => reason === 'left'), 'the one that left');
    const last = ask(test, 'waits?name=last');
    await until(() => arrived === 3, 'the last');
    finishAll();
    await until(() => running === 1 && began.length === 2, 'the last');
    finishAll();
    expect([(await first).status, (await last).status]).toEqual([200, 200]);
    expect(began).toEqual(['first', 'last']);
    await test.close();
  });

  it('takes no slot for a client that has left while another guard waited', async () => {
    const test = await start(platform);
    const visitor = visit(test, 'guarded');
    const figures = test.app.get(ProcessFigures);
    await until(() => gate.open, 'guard');
    visitor.leave();
    await test.records(1);
    openGate();
    await until(() => figures.refusals.some(({ reason }) => reason === 'left'), 'the one that left');
    const asked = ask(test, 'guarded');
    await until(() => gate.open, 'guard');
    openGate();
    await until(() => running === 1, 'the handler');
    finishAll();
    expect((await asked).status).toBe(200);
    expect(began).toEqual(['guarded']);
    await test.close();
  });

  it('holds though clients leave while their handlers run', async () => {
    const test = await start(platform);
    const statuses: number[] = [];
    for (let i = 0; i < 12; i += 1) {
      const visitor = visit(test, 'export');
      if (i < 2) await until(() => began.length === i + 1, 'handler');
      else await test.records(i + 1);
      visitor.leave();
      await test.records(i + 1);
    }
    expect(most).toBe(2);
    expect(running).toBe(2);
    statuses.push((await ask(test, 'export')).status);
    finishAll();
    await until(() => running === 0, 'end');
    const two = [ask(test, 'export'), ask(test, 'export')];
    await until(() => running === 2, 'two more');
    finishAll();
    for (const answer of two) statuses.push((await answer).status);
    expect(statuses).toEqual([503, 200, 200]);
    await test.close();
  });

  it('takes back what a handler that never settles holds, and says so', async () => {
    const test = await start(platform);
    visit(test, 'never').leave();
    void ask(test, 'never').catch(() => undefined);
    await until(() => running >= 1, 'handler');
    await until(() => test.logs.of('warn', 'Guards').some(line => line.includes('was reclaimed')), 'line');
    const before = began.length;
    void ask(test, 'never').catch(() => undefined);
    await until(() => began.length > before, 'another one');
    expect(test.logs.of('warn', 'Guards').filter(line => line.includes('was reclaimed'))).toHaveLength(1);
    finishAll();
    await test.close();
  });

  it('gets a slot back from what fails', async () => {
    const test = await start(platform);
    for (let i = 0; i < 3; i += 1) {
      expect((await ask(test, 'fails')).status).toBe(500);
      await test.records(i + 1);
      await new Promise(resolve => setImmediate(resolve));
    }
    await test.close();
  });

  it('counts for each caller', async () => {
    const test = await start(platform, {
      configure: app => {
        app.use((req: { headers: Record<string, string> }, _res: unknown, next: () => void) => {
          const tenant = req.headers['x-tenant'];
          if (tenant !== undefined) app.get(ContextService).set('tenant', tenant);
          next();
        });
      },
    });
    const acme = { 'x-tenant': 'acme' };
    const asked = [ask(test, 'tenant', acme), ask(test, 'tenant', { 'x-tenant': 'other' })];
    await until(() => running === 2, 'two tenants');
    expect((await ask(test, 'tenant', acme)).status).toBe(503);
    asked.push(ask(test, 'tenant'));
    await until(() => running === 3, 'one by its address');
    finishAll();
    for (const answer of asked) expect((await answer).status).toBe(200);
    await test.close();
  });

  it('holds a stream of events for as long as its client is there', async () => {
    const test = await start(platform);
    const abort = new AbortController();
    const response = await fetch(`${test.url}/events`, { signal: abort.signal });
    const reader = response.body!.getReader();
    await reader.read();
    await new Promise(resolve => setTimeout(resolve, 40));
    expect((await ask(test, 'events')).status).toBe(503);
    abort.abort();
    await reader.read().catch(() => undefined);
    await test.records(2);
    const again = new AbortController();
    await until(() => test.sink.records.some(({ aborted }) => aborted), 'end of the stream');
    const next = await fetch(`${test.url}/events`, { signal: again.signal });
    expect(next.status).toBe(200);
    again.abort();
    await next.text().catch(() => undefined);
    await test.close();
  });

  it('is shared by the handlers of a class, but for what says its own', async () => {
    const test = await start(platform, {
      providers: [{ provide: APP_GUARD, useClass: ConcurrencyGuard }],
    });
    const first = ask(test, 'shared/one');
    await until(() => running === 1, 'the first');
    expect((await ask(test, 'shared/two')).status).toBe(503);
    const own = [ask(test, 'shared/own'), ask(test, 'shared/own')];
    await until(() => running === 3, 'two of its own');
    expect((await ask(test, 'shared/own')).status).toBe(503);
    finishAll();
    for (const answer of [first, ...own]) expect((await answer).status).toBe(200);
    await test.close();
  });

  it('only counts in a dry run', async () => {
    const test = await start(platform);
    for (const path of ['dry', 'dry-waits']) {
      const before = running;
      const asked = [ask(test, path), ask(test, path)];
      await until(() => running === before + 2, 'both');
      await until(
        () =>
          test.app
            .get(ProcessFigures)
            .refusals.some(({ handler }) => handler.toLowerCase().endsWith(path.replace('-', ''))),
        'count',
      );
      finishAll();
      for (const answer of asked) expect((await answer).status).toBe(200);
    }
    expect(
      test.app.get(ProcessFigures).refusals.map(({ reason, dryRun, count }) => [reason, dryRun, count]),
    ).toEqual([
      ['busy', true, 1],
      ['waited', true, 1],
    ]);
    await test.close();
  });

  it('holds no slot after 1,000 requests of clients that stay, leave and wait', async () => {
    const test = await start(platform);
    const slots = test.app.get<GuardKit>(GUARD_KIT).slots;
    let sent = 0;
    const finisher = setInterval(() => {
      if (Math.random() < 0.5) finishAll();
    }, 2);
    const client = async (): Promise<void> => {
      while (sent < 1_000) {
        sent += 1;
        if (Math.random() < 0.7) await ask(test, 'export');
        else {
          const visitor = visit(test, 'export');
          await new Promise(resolve => setTimeout(resolve, Math.random() * 4));
          visitor.leave();
        }
      }
    };
    await Promise.all(Array.from({ length: 12 }, client));
    expect(most).toBe(2);
    await until(() => (finishAll(), running === 0), 'end');
    clearInterval(finisher);
    const { declaredConcurrency } = await import('../../lib/guards/concurrency/concurrency');
    const rule = declaredConcurrency.of({
      getHandler: () => ReportsController.prototype.export,
      getClass: () => ReportsController as never,
    })!.value;
    await until(() => slots.of(rule, ReportsController).bulkhead.keys === 0, 'no slot held');
    await test.close();
  });
});

describe('@Concurrency()', () => {
  it('says at the start what it cannot take', () => {
    const declare = (options: unknown) => {
      class Bad {
        get() {}
      }
      Concurrency(options as never)(
        Bad.prototype,
        'get',
        Object.getOwnPropertyDescriptor(Bad.prototype, 'get')!,
      );
    };
    expect(() => declare({ limit: 0 })).toThrow(
      '@Concurrency on Bad.get({ limit }) is 0. Use a whole number from 1 to 1000000.',
    );
    expect(() => declare({ waitMs: -1 })).toThrow('Use a whole number from 0');
    expect(() => declare({ maxHoldMs: 0 })).toThrow('Use a whole number from 1');
    expect(() => declare({ by: 'tenant' })).toThrow("Use 'user', 'ip'");
    expect(() => declare({ dryRun: 1 })).toThrow('Use true or false.');
    expect(() => declare({ limits: 1 })).toThrow('There is no such option');
    expect(() => declare({ limit: 1, by: TENANT })).not.toThrow();
  });
});
