import { describe, expect, it } from 'vitest';
import { Waiter } from '../../../lib/detectors/pools/waiter';
import { WaitList } from '../../../lib/detectors/pools/wait-list';
import { seeded } from '../../support/random';

class Call extends Waiter {}

const fill = (count: number): { list: WaitList; calls: Call[] } => {
  const list = new WaitList();
  const calls = Array.from({ length: count }, () => new Call());
  for (const call of calls) list.add(call);
  return { list, calls };
};

describe('the list of those that wait for a connection', () => {
  it('keeps their order, whoever leaves', () => {
    const { list, calls } = fill(5);
    for (const i of [2, 0, 4]) list.remove(calls[i]!);
    expect([...list]).toEqual([calls[1], calls[3]]);
    expect(list.first).toBe(calls[1]);
    list.add(calls[0]!);
    expect([...list]).toEqual([calls[1], calls[3], calls[0]]);
  });

  it('tells each once who has not been looked at, also those that come after all were', () => {
    const { list, calls } = fill(2);
    expect(list.next).toBe(calls[0]);
    list.pass();
    list.remove(calls[1]!);
    expect(list.next).toBeUndefined();
    const late = new Call();
    list.add(late);
    expect(list.next).toBe(late);
    list.remove(late);
    expect(list.next).toBeUndefined();
    expect(list.first).toBe(calls[0]);
  });

  it('forgets all, and those that leave afterwards leave nothing behind', () => {
    const { list, calls } = fill(3);
    list.clear();
    const other = new Call();
    list.add(other);
    for (const call of calls) list.remove(call);
    expect([...list]).toEqual([other]);
  });

  it('is what a list in order would be, for 10,000 random steps', () => {
    const random = seeded(7);
    const list = new WaitList();
    let expected: Call[] = [];
    for (let i = 0; i < 10_000; i += 1) {
      if (random() < 0.5 || expected.length === 0) {
        const call = new Call();
        list.add(call);
        expected.push(call);
      } else {
        const at = Math.floor(random() * expected.length);
        list.remove(expected[at]!);
        expected = expected.filter((_, j) => j !== at);
      }
      if (i % 100 === 0) expect([...list]).toEqual(expected);
    }
  });
});
