import { Controller, Get } from '@nestjs/common';
import { afterEach, expect, it } from 'vitest';
import { ContextService, type CostRecord, ProcessFigures } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

@Controller()
class OkController {
  @Get()
  ok(): string {
    return 'ok';
  }
}

it.each(platforms)(
  'writes what has ended, for as long as it may, and keeps what is not taken: %s',
  async platform => {
    let take = (): void => undefined;
    const taken: CostRecord[] = [];
    const hanging = {
      name: 'hanging',
      write: (records: readonly CostRecord[]) =>
        new Promise<void>(resolve => {
          take = () => {
            taken.push(...records);
            resolve();
          };
        }),
    };
    test = await startApp({
      platform,
      controllers: [OkController],
      sinks: [hanging],
      sinkQueue: { intervalMs: 600_000 },
    });
    const context = test.app.get(ContextService);
    const figures = test.app.get(ProcessFigures);
    await (await fetch(test.url)).text();
    await until(() => figures.sinkStats[0]?.produced === 1, 'end of the request');

    await context.flush(50);
    expect(test.sink.records).toHaveLength(1);
    expect(taken).toHaveLength(0);
    expect(figures.sinkStats.map(({ queued, dropped }) => [queued, dropped])).toEqual([
      [0, 0],
      [1, 0],
    ]);
    take();
    await context.flush();
    expect(taken).toHaveLength(1);
  },
);
