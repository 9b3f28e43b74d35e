import { Controller, Get } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord, type CostRecordSink } from 'nestjs-async-context';
import type { RequestContext } from '../../lib/context/request-context';
import { recordAtClose } from '../../lib/record/record-at-close';
import { platforms, startApp, type TestApp } from '../support/platforms';

@Controller()
class OrdersController {
  constructor(private readonly context: ContextService) {}

  @Get('orders')
  list(): string {
    for (let i = 0; i < 2; i += 1)
      this.context.record({ system: 'shop', collection: 'orders', rows: 1, durationMs: 1 });
    return 'orders';
  }
}

/** A sink that looks at units of work, and keeps what it is told of their end. */
class ObservingMemory implements CostRecordSink {
  readonly name = 'observing';
  readonly contexts: RequestContext[] = [];
  readonly seen: CostRecord[] = [];

  write(): void {}

  begins(context: RequestContext): void {
    this.contexts.push(context);
  }

  ends(_context: RequestContext, record: () => CostRecord): void {
    this.seen.push(record(), record());
  }
}

let test: TestApp | undefined;
afterEach(async () => {
  await test?.close();
  test = undefined;
});

describe.each(platforms)('the record of a unit of work, on %s', platform => {
  it('is one for its breach and whoever observes it, and agrees with that of a sink', async () => {
    const observing = new ObservingMemory();
    const breached: CostRecord[] = [];
    test = await startApp({
      platform,
      controllers: [OrdersController],
      budget: 1,
      sinks: [observing],
      canonicalLog: true,
      onExceeded: ({ record }) => void breached.push(record),
    });
    await (await fetch(`${test.url}/orders`)).text();
    const [written] = await test.records(1);
    expect(breached).toHaveLength(1);
    expect(observing.seen).toHaveLength(2);
    for (const record of observing.seen) expect(record).toBe(breached[0]);
    expect(breached[0]!.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(written).toEqual(breached[0]);
    const [line] = test.logs.lines.filter(({ context }) => context === 'Request');
    expect(line!.fields).toMatchObject({ traceId: written!.traceId, requestId: written!.requestId });
    // It is let go of with the close: what a context keeps lives as long as whatever holds the context.
    expect(observing.contexts.map(({ recordAtClose }) => recordAtClose)).toEqual(['dropped']);
    // Whoever asks later gets a record of then.
    const later = recordAtClose(observing.contexts[0]!);
    expect(later).not.toBe(breached[0]);
    expect(later).toEqual(breached[0]);
  });

  it('is another one while the unit of work is open', async () => {
    let early: CostRecord | undefined;
    const observing = new ObservingMemory();
    observing.begins = context => {
      early = recordAtClose(context);
    };
    test = await startApp({ platform, controllers: [OrdersController], budget: 1, sinks: [observing] });
    await (await fetch(`${test.url}/orders`)).text();
    await test.records(1);
    expect(early).toMatchObject({ queries: { count: 0 }, breaches: [] });
    expect(observing.seen[0]).toMatchObject({ queries: { count: 2 }, breaches: [{ used: 2 }] });
  });

  it('has no trace where nobody asks for one', async () => {
    test = await startApp({ platform, controllers: [OrdersController] });
    await (await fetch(`${test.url}/orders`)).text();
    const [written] = await test.records(1);
    expect(written).not.toHaveProperty('traceId');
  });
});
