import { Controller, Get } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { platforms, startApp } from '../../support/platforms';

describe.each(platforms)('app.close() on %s', platform => {
  it('writes what waits while the last request is still being answered, and its record afterwards', async () => {
    let enter = (): void => undefined;
    const isIn = new Promise<void>(resolve => (enter = resolve));
    let answer = (): void => undefined;
    const isFree = new Promise<void>(resolve => (answer = resolve));
    @Controller()
    class Slow {
      @Get()
      async slow() {
        enter();
        await isFree;
        return 'done';
      }
    }
    const test = await startApp({
      platform,
      controllers: [Slow],
      sinkQueue: { intervalMs: 60_000 },
      nest: { forceCloseConnections: false },
    });
    const context = test.app.get(ContextService);
    context.run({ requestId: 'waits' }, () => undefined);
    const request = fetch(test.url);
    await isIn;
    const isClosed = test.close();
    expect((await test.records(1)).map(({ requestId }) => requestId)).toEqual(['waits']);
    answer();
    expect((await request).status).toBe(200);
    await isClosed;
    expect(test.sink.records.map(({ handler }) => handler)).toEqual([undefined, 'Slow.slow']);
  });
});
