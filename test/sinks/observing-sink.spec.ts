import { Controller, Get } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import {
  ContextService,
  type CostRecord,
  type ObservedUnit,
  type ObservingSink,
  QueryBudget,
} from 'nestjs-async-context';
import { describe, expect, it } from 'vitest';
import { platforms, startApp } from '../support/platforms';

class Watcher implements ObservingSink {
  readonly name = 'watcher';
  readonly seen: string[] = [];
  readonly records: CostRecord[] = [];

  begins(unit: ObservedUnit): void {
    this.seen.push(`begins ${unit.kind} ${unit.handler?.name}`);
  }

  ends(unit: ObservedUnit, record: () => CostRecord): void {
    const breaches = unit.breaches.map(({ dimension }) => dimension).join();
    this.seen.push(`ends ${unit.handler?.name} ${unit.route} ${unit.cost.queries} ${breaches}`);
    this.records.push(record());
  }

  write(): void {}
}

@Controller('watched')
class WatchedController {
  constructor(private readonly context: ContextService) {}

  @Get(':id')
  @QueryBudget(1)
  watched(): void {
    const query = { system: 'none', durationMs: 1 };
    this.context.record(query);
    this.context.record(query);
    this.context.run({ handler: 'Inner.run' }, () => undefined);
  }
}

describe.each(platforms)('a sink that looks at units of work, on %s', platform => {
  it('hears of their begin, and of their end when all is known, before others hear of `close`', async () => {
    const sink = new Watcher();
    const test = await startApp({
      platform,
      controllers: [WatchedController],
      sinks: [sink],
      configure: app => {
        app.getHttpServer().prependListener('request', (_request: unknown, response: ServerResponse) => {
          response.on('close', () => sink.seen.push('close'));
        });
      },
    });
    await fetch(`${test.url}/watched/1`);
    const [inner, outer] = await test.records(2);
    expect(sink.seen).toEqual([
      'begins http undefined',
      'begins job undefined',
      'ends Inner.run undefined 0 ',
      'ends WatchedController.watched GET /watched/:id 2 queries',
      'close',
    ]);
    expect(sink.records).toEqual([inner, outer]);
    await test.close();
  });

  it('changes nothing when it fails', async () => {
    const sink = new Watcher();
    const fail = (): never => {
      throw new Error('blind');
    };
    sink.begins = fail;
    sink.ends = fail;
    const test = await startApp({ platform, controllers: [WatchedController], sinks: [sink] });
    expect((await fetch(`${test.url}/watched/1`)).status).toBe(200);
    expect(await test.records(2)).toHaveLength(2);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([
      expect.stringContaining(
        'sink watcher, begins() failed and was ignored: Error at observing-sink.spec.ts:',
      ),
      expect.stringContaining(
        'sink watcher, ends() failed and was ignored: Error at observing-sink.spec.ts:',
      ),
    ]);
    await test.close();
  });
});
