import { Controller, Get, type LoggerService } from '@nestjs/common';
import { describe, expect, it, vi } from 'vitest';
import { ContextService, type CostRecord, type ObservingSink, ProcessFigures } from 'nestjs-async-context';
import { platforms, startApp, until } from '../support/platforms';

@Controller()
class CostlyController {
  constructor(private readonly context: ContextService) {}

  @Get()
  async get(): Promise<string> {
    this.context.record({ system: 'test', durationMs: 1 });
    await new Promise(resolve => setTimeout(resolve, 5));
    return 'done';
  }
}

/** A logger of the application that fails at each line about a request. */
function failingLogger(lines: string[]): LoggerService {
  const write = (message: unknown): void => {
    const text = message as string;
    if (text.includes('CostlyController.get')) throw new TypeError('out of paper');
    lines.push(text.trim());
  };
  return { log: write, warn: write, error: write };
}

const REQUESTS = 5;

describe.each(platforms)('closing a unit of work, on %s', platform => {
  it('writes its record and goes on, where the logger fails', async () => {
    const lines: string[] = [];
    const ended: string[] = [];
    const observer: ObservingSink = {
      name: 'observer',
      begins: () => undefined,
      ends: unit => void ended.push(unit.requestId),
      write: () => undefined,
    };
    const closed: string[] = [];
    const test = await startApp({
      platform,
      controllers: [CostlyController],
      nest: { logger: failingLogger(lines) },
      budget: 0,
      breachWindowMs: 0,
      slowAfterMs: 1,
      canonicalLog: true,
      sinks: [observer],
      configure: app => {
        const context = app.get(ContextService);
        app.use((_request: unknown, _response: unknown, next: () => void) => {
          context.onClose(() => closed.push(context.requestId!));
          next();
        });
      },
    });
    for (let i = 0; i < REQUESTS; i++) expect(await (await fetch(test.url)).text()).toBe('done');
    const records = await test.records(REQUESTS);
    const ids = records.map(({ requestId }) => requestId);
    expect(records.every(({ breaches, slow }) => breaches.length === 1 && slow !== undefined)).toBe(true);
    expect(ended).toEqual(ids);
    expect(closed).toEqual(ids);
    const hookErrors = lines.filter(line => line.includes(' failed and was ignored: '));
    // Each is said once, by the line of the logger that threw.
    expect(hookErrors.map(line => line.replace(/:\d+ /, ': '))).toEqual(
      ['report of a unit of work', 'canonicalLog'].map(
        step => `${step} failed and was ignored: TypeError at close-steps.spec.ts: write`,
      ),
    );
    expect(test.app.get(ProcessFigures).sinkStats[0]).toMatchObject({ produced: REQUESTS, dropped: 0 });
    await test.close();
  });

  it('counts a record that cannot be made, and writes the others', async () => {
    const test = await startApp({ platform, controllers: [CostlyController], budget: 0, slowAfterMs: 1 });
    const now = vi.spyOn(Date, 'now');
    for (let i = 0; i < REQUESTS; i++) {
      // What a test that fakes the clock may do: "Invalid time value". The first: its reports are not held back.
      if (i === 0) now.mockReturnValue(Number.NaN);
      await (await fetch(test.url)).text();
      now.mockReset();
    }
    now.mockRestore();
    const { sinkStats } = await until(() => {
      const figures = test.app.get(ProcessFigures);
      return figures.sinkStats[0]!.delivered === REQUESTS - 1 && figures;
    }, 'records');
    expect(sinkStats[0]).toMatchObject({
      produced: REQUESTS,
      delivered: REQUESTS - 1,
      dropped: 1,
      queued: 0,
    });
    const warnings = test.logs.of('warn', 'AsyncContext').map(line => line.split(' failed')[0]);
    expect(warnings).toEqual(['report of a unit of work', 'making a cost record']);
    await test.close();
  });

  it('closes once, also where a faked clock stands at 0', async () => {
    const test = await startApp({ platform });
    const context = test.app.get(ContextService);
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    let after: (() => number | undefined) | undefined;
    let closed = 0;
    context.run({}, () => {
      context.onClose(() => (closed += 1));
      after = context.bind(() => context.elapsedMs);
    });
    expect(after!()).toBeLessThan(1e-300);
    now.mockRestore();
    expect(after!()).toBeLessThan(1e-300);
    expect(closed).toBe(1);
    await test.close();
  });
});

it('tells each sink that observes, and takes the other steps, where one of them fails', async () => {
  const records: CostRecord[] = [];
  const observers = ['first', 'second'].map((name): ObservingSink => ({
    name,
    begins: () => undefined,
    ends: (_unit, record) => {
      records.push(record());
      throw new Error('no');
    },
    write: () => undefined,
  }));
  const test = await startApp({ sinks: observers });
  test.app.get(ContextService).run({}, () => undefined);
  expect(records).toHaveLength(2);
  expect(await test.records(1)).toHaveLength(1);
  await test.close();
});
