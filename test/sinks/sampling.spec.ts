import { Controller, Get, HttpException, Injectable, Param } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { type CostRecord, type CostRecordSink, ProcessFigures } from 'nestjs-async-context';
import type { RequestContext } from '../../lib/context/request-context';
import { recordSampler } from '../../lib/sinks/record-sampler';
import { platforms, startApp, type TestApp } from '../support/platforms';

function contextOf(differences: Partial<RequestContext> = {}): RequestContext {
  const context = {
    requestId: 'one',
    isSlow: false,
    breaches: [],
    blocks: [],
    unhandledErrors: 0,
    status: 200,
  };
  return { ...context, ...differences } as unknown as RequestContext;
}

/** How many of so many units of work are kept. */
function countKept(sample: number, contexts: readonly RequestContext[]): number {
  const weigh = recordSampler(sample)!;
  return contexts.filter(context => weigh(context) > 0).length;
}

const MANY = 20_000;
const hex = (i: number): string => i.toString(16).padStart(32, '0');

describe('recordSampler()', () => {
  it('has nothing to do when all are kept, and keeps no ordinary one at 0', () => {
    expect(recordSampler(1)).toBeUndefined();
    expect(recordSampler(0)!(contextOf())).toBe(0);
  });

  it.each<[string, (i: number) => Partial<RequestContext>]>([
    ['request ids that count up', i => ({ requestId: `req-${i}` })],
    ['trace ids that count up', i => ({ traceId: hex(i) })],
    ['trace ids that differ at their beginning', i => ({ traceId: [...hex(i)].toReversed().join('') })],
    ['ids that are times', i => ({ requestId: String(1_795_000_000_000 + i * 1_000) })],
  ])('keeps the share that is asked for of %s', (_name, differences) => {
    const contexts = Array.from({ length: MANY }, (_, i) => contextOf(differences(i)));
    for (const sample of [0.01, 0.1, 0.5]) {
      // Four standard deviations: the ids are fixed, and so is the answer.
      const spread = 4 * Math.sqrt(MANY * sample * (1 - sample));
      expect(Math.abs(countKept(sample, contexts) - MANY * sample)).toBeLessThan(spread);
    }
  });

  it('decides for a whole trace, and a smaller share is part of a larger one', () => {
    const [few, many] = [recordSampler(0.05)!, recordSampler(0.2)!];
    for (let i = 0; i < 5_000; i++) {
      const [one, other] = [
        contextOf({ traceId: hex(i), requestId: 'a' }),
        contextOf({ traceId: hex(i), requestId: 'b' }),
      ];
      expect(few(one)).toBe(few(other));
      if (few(one) > 0) expect(many(one)).toBe(5);
    }
  });

  it.each<[string, Partial<RequestContext>]>([
    ['is slow', { isSlow: true }],
    ['has a breach', { breaches: [{ dimension: 'queries', used: 2, limit: 1, from: '' }] }],
    ['ended with an error', { error: 'NotFoundException' }],
    ['answered 500', { status: 500 }],
    ['had a block of the event loop in it', { blocks: [{}] as unknown as RequestContext['blocks'] }],
    ['lost an error', { unhandledErrors: 1 }],
  ])('keeps what %s, for itself alone', (_name, differences) => {
    expect(recordSampler(0)!(contextOf(differences))).toBe(1);
  });

  it('does not keep a 499 for its status', () => {
    expect(recordSampler(0)!(contextOf({ status: 499 }))).toBe(0);
  });
});

@Injectable()
@Controller()
class Items {
  @Get('items/:id')
  get(@Param('id') id: string): string {
    if (Number(id) % 50 === 0) throw new HttpException('no', 503);
    return id;
  }
}

class Counting implements CostRecordSink {
  readonly name = 'counting';
  readonly everyRecord = true;
  records: CostRecord[] = [];

  write(records: readonly CostRecord[]): void {
    this.records.push(...records);
  }
}

describe.each(platforms)('sinkQueue.sample on %s', platform => {
  let test: TestApp;

  afterEach(() => test.close());

  it('keeps all failures and a part of the rest, which stands for the whole', async () => {
    const counting = new Counting();
    test = await startApp({
      platform,
      controllers: [Items],
      sinks: [counting],
      sinkQueue: { sample: 0.25 },
    });
    const ids = Array.from({ length: 300 }, (_, i) => i + 1);
    for (const id of ids) await (await fetch(`${test.url}/items/${id}`)).text();
    const { sinkStats } = test.app.get(ProcessFigures);
    await test.app.close();
    const records = test.sink.records;
    const failed = records.filter(({ status }) => status === 503);
    // A busy machine may block a loop, which is kept as well.
    const rest = records.filter(
      ({ status, slow, stalls, blockedMs }) => status === 200 && !slow && !stalls && !blockedMs,
    );
    expect(failed).toHaveLength(6);
    expect(failed.every(({ weight }) => weight === undefined)).toBe(true);
    expect(rest.every(({ weight }) => weight === 4)).toBe(true);
    expect(rest.length).toBeGreaterThan(30);
    expect(rest.length).toBeLessThan(120);
    expect(counting.records).toHaveLength(300);
    expect(counting.records.every(({ weight }) => weight === undefined)).toBe(true);
    expect(sinkStats[0]).toMatchObject({
      sink: 'memory',
      produced: records.length,
      sampledOut: 300 - records.length,
    });
    expect(test.app.get(ProcessFigures).sinkStats).toEqual([
      {
        sink: 'memory',
        produced: records.length,
        delivered: records.length,
        dropped: 0,
        queued: 0,
        sampledOut: 300 - records.length,
      },
      { sink: 'counting', produced: 300, delivered: 300, dropped: 0, queued: 0, sampledOut: 0 },
    ]);
  });
});
