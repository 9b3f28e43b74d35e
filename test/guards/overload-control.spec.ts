import { describe, expect, it } from 'vitest';
import { OverloadControl } from '../../lib/guards/overload/overload-control';
import type { RequestPriority } from '../../lib/guards/overload/overload-options';

const TICK_MS = 20;
const CAPACITY = 1_000;
const limits = { targetDelayMs: 100, poolWaitMs: 500 };

type Mix = Partial<Record<RequestPriority, number>>;

/** A process that works off 1,000 requests a second, on a clock of its own: what waits makes its loop late. */
class Process {
  readonly control = new OverloadControl(limits);
  readonly turns: { turn: string; nowMs: number }[] = [];
  nowMs = 0;
  queue = 0;
  #owed: Record<RequestPriority, number> = { critical: 0, default: 0, sheddable: 0 };
  arrived: Record<RequestPriority, number> = { critical: 0, default: 0, sheddable: 0 };
  shed: Record<RequestPriority, number> = { critical: 0, default: 0, sheddable: 0 };
  mostDelayMs = 0;

  get delayMs(): number {
    return (1_000 * this.queue) / CAPACITY;
  }

  /** @param load what comes in, by priority, in parts of what it can work off */
  run(ms: number, load: (second: number) => Mix): this {
    this.arrived = { critical: 0, default: 0, sheddable: 0 };
    this.shed = { critical: 0, default: 0, sheddable: 0 };
    this.mostDelayMs = 0;
    const beginMs = this.nowMs;
    while (this.nowMs < beginMs + ms) {
      const mix = load((this.nowMs - beginMs) / 1_000);
      for (const priority of ['critical', 'default', 'sheddable'] as const) {
        this.#owed[priority] += ((mix[priority] ?? 0) * CAPACITY * TICK_MS) / 1_000;
        for (; this.#owed[priority] >= 1; this.#owed[priority] -= 1) this.#arrive(priority);
      }
      this.queue = Math.max(0, this.queue - (CAPACITY * TICK_MS) / 1_000);
      this.nowMs += TICK_MS;
      this.mostDelayMs = Math.max(this.mostDelayMs, this.delayMs);
      const turn = this.control.sample(this.delayMs, 0, this.nowMs);
      if (turn !== undefined) this.turns.push({ turn, nowMs: this.nowMs });
    }
    return this;
  }

  #arrive(priority: RequestPriority): void {
    this.arrived[priority] += 1;
    if (this.control.isWatching && this.control.sheds(priority)) this.shed[priority] += 1;
    else this.queue += 1;
  }
}

const names = ({ turns }: Process): string[] => turns.map(({ turn }) => turn);

describe('the control of overload', () => {
  it('sheds what is too much after a step, and keeps the delay near its target', () => {
    const process = new Process().run(10_000, () => ({ default: 0.5 }));
    expect(names(process)).toEqual([]);
    process.run(30_000, () => ({ default: 2 }));
    expect(names(process)).toEqual(['began']);
    const nowMs = process.turns[0]?.nowMs;
    expect(nowMs).toBeGreaterThanOrEqual(10_600);
    expect(nowMs).toBeLessThan(11_000);
    process.run(30_000, () => ({ default: 2 }));
    expect(process.shed.default / process.arrived.default).toBeCloseTo(0.5, 1);
    expect(process.mostDelayMs).toBeLessThan(200);
    expect(names(process)).toEqual(['began']);
  });

  it('ends when less comes in, and sheds nobody then', () => {
    const process = new Process().run(20_000, () => ({ default: 3 })).run(6_000, () => ({ default: 0.5 }));
    expect(names(process)).toEqual(['began', 'ended']);
    expect(process.control.shedShare).toBe(0);
    process.run(10_000, () => ({ default: 0.9 }));
    expect(process.shed.default).toBe(0);
  });

  it('follows a ramp', () => {
    const process = new Process().run(60_000, second => ({ default: second / 20 }));
    expect(names(process)).toEqual(['began']);
    expect(process.control.shedShare).toBeGreaterThan(0.55);
    expect(process.mostDelayMs).toBeLessThan(700);
    process.run(60_000, second => ({ default: 3 - second / 20 }));
    expect(names(process)).toEqual(['began', 'ended']);
  });

  it('lets bursts pass that are worked off in between', () => {
    const process = new Process().run(60_000, second => ({ default: second % 1 < 0.1 ? 4 : 0.4 }));
    expect(process.mostDelayMs).toBeGreaterThan(250);
    expect(names(process)).toEqual([]);
    expect(process.shed.default).toBe(0);
  });

  it('takes a load that flaps for one overload, not for many', () => {
    const process = new Process().run(60_000, second => ({ default: second % 2 < 1 ? 2.5 : 1.1 }));
    expect(names(process)).toEqual(['began']);
    const shed = process.shed.default / process.arrived.default;
    expect(shed).toBeGreaterThan(0.3);
    expect(shed).toBeLessThan(0.6);
  });

  it('sheds nothing for a loop that is blocked now and then, or once for long, or that is idle', () => {
    const control = new OverloadControl(limits);
    let nowMs = 0;
    for (let i = 0; i < 1_000; i += 1) {
      // Three times a second 250 ms.
      expect(control.sample(250, 0, (nowMs += 270))).toBeUndefined();
      for (let pause = 0; pause < 3; pause += 1)
        expect(control.sample(0, 0, (nowMs += TICK_MS))).toBeUndefined();
    }
    expect(control.sample(15_000, 0, (nowMs += 15_020))).toBeUndefined();
    expect(control.isOverloaded).toBe(false);
    for (let i = 0; i < 20; i += 1) expect(control.sample(0, 0, (nowMs += TICK_MS))).toBeUndefined();
    expect(control.isWatching).toBe(false);
    expect(control.sample(0, 0, nowMs + 3_600_000)).toBeUndefined();
  });

  it('begins with the first millisecond above the target, and at no time below', () => {
    for (const [delayMs, waitMs, begins] of [
      [100, 0, false],
      [101, 0, true],
      [0, 500, false],
      [0, 501, true],
    ] as const) {
      const control = new OverloadControl(limits);
      const turns = Array.from({ length: 100 }, (_, i) => control.sample(delayMs, waitMs, i * TICK_MS));
      expect(turns.includes('began')).toBe(begins);
      if (begins) expect(control.cause).toBe(waitMs > 0 ? 'pool-wait' : 'loop-delay');
    }
    const blind = new OverloadControl({ targetDelayMs: 100, poolWaitMs: 0 });
    for (let i = 0; i < 100; i += 1) expect(blind.sample(0, 1e9, i * TICK_MS)).toBeUndefined();
  });

  it('sheds what matters least first, and what is critical last', () => {
    const process = new Process().run(20_000, () => ({ critical: 0.3, default: 1, sheddable: 0.3 }));
    process.run(20_000, () => ({ critical: 0.3, default: 1, sheddable: 0.3 }));
    expect(process.shed.critical).toBe(0);
    expect(process.shed.sheddable).toBeGreaterThan(0.85 * process.arrived.sheddable);
    const others = process.shed.default / process.arrived.default;
    expect(others).toBeGreaterThan(0.2);
    expect(others).toBeLessThan(0.45);
    // Where what is critical is too much by itself, all else is shed, and some of it.
    process.run(40_000, () => ({ critical: 2, default: 0.2 }));
    process.run(20_000, () => ({ critical: 2, default: 0.2 }));
    expect(process.shed.default).toBeGreaterThan(0.95 * process.arrived.default);
    expect(process.shed.critical / process.arrived.critical).toBeCloseTo(0.5, 1);
  });
});
