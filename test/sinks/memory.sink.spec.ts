import { describe, expect, it } from 'vitest';
import { MemorySink } from 'nestjs-async-context';
import { recordOf } from '../support/records';

describe('MemorySink', () => {
  it('keeps the newest 1,000 records', () => {
    const sink = new MemorySink();
    sink.write(Array.from({ length: 1_000 }, (_, i) => recordOf(String(i))));
    expect(sink.records[0]!.requestId).toBe('0');
    sink.write([recordOf('1000')]);
    expect(sink.records).toHaveLength(1_000);
    expect([sink.records[0]!.requestId, sink.records.at(-1)!.requestId]).toEqual(['1', '1000']);
  });

  it('keeps as many as it is told, and forgets when it is told', () => {
    const sink = new MemorySink({ capacity: 2 });
    sink.write([recordOf('a'), recordOf('b'), recordOf('c')]);
    expect(sink.records.map(({ requestId }) => requestId)).toEqual(['b', 'c']);
    sink.clear();
    expect(sink.records).toEqual([]);
  });

  it('keeps nothing with a capacity of 0, one record with 1', () => {
    const sinks = [new MemorySink({ capacity: 0 }), new MemorySink({ capacity: 1 })];
    for (const sink of sinks) sink.write([recordOf('a'), recordOf('b')]);
    expect(sinks.map(({ records }) => records.map(({ requestId }) => requestId))).toEqual([[], ['b']]);
  });

  it('gives a list that does not change when more comes', () => {
    const sink = new MemorySink();
    sink.write([recordOf('a')]);
    const { records } = sink;
    sink.write([recordOf('b')]);
    expect(records).toHaveLength(1);
  });
});
