import type { CallDimension, OpenCall } from './call-ledger';
import { CostLedger } from './cost-ledger';
import type { Columns } from './evidence/kept-results';
import type { ReadsValues } from './evidence/operation-values';
import type { Charge } from './query-charge';
import type { RemoteCost } from './remote-ledger';
import type { Statement } from '../sql/statement';
import type { TimeAccount } from './time-account';
import type { ReadsRows } from './unread-rows';

/**
 * Counts what a unit of work asks for that another one awaits, and counts it for that one, too, as long
 * as that one is open: the budgets of both see it.
 */
export class PartLedger extends CostLedger {
  readonly #whole: CostLedger;

  constructor(time: TimeAccount, whole: CostLedger) {
    super(time);
    this.#whole = whole;
  }

  override get whole(): CostLedger {
    return this.#whole.whole;
  }

  override begin(
    statement: Statement,
    stackBoundary: (...args: never[]) => unknown,
    parameters?: number,
    isQueued?: boolean,
  ): Charge | undefined {
    const whole = this.#isShared
      ? this.#whole.begin(statement, stackBoundary, parameters, isQueued)
      : undefined;
    try {
      return both(whole, super.begin(statement, stackBoundary, parameters, isQueued));
    } catch (error) {
      // Kept back by the budget of this one: never sent, and so no error of the whole.
      whole?.end(0);
      throw error;
    }
  }

  override beginCall(
    dimension: CallDimension,
    target: string,
    stackBoundary: (...args: never[]) => unknown,
  ): OpenCall | undefined {
    const whole = this.#isShared ? this.#whole.beginCall(dimension, target, stackBoundary) : undefined;
    try {
      const part = super.beginCall(dimension, target, stackBoundary);
      return whole === undefined || part === undefined ? part : new BothCalls(whole, part);
    } catch (error) {
      whole?.end();
      throw error;
    }
  }

  override beginWait(): { end(): void } {
    const whole = this.#isShared ? this.#whole.beginWait() : undefined;
    const part = super.beginWait();
    return whole === undefined ? part : new BothCalls(whole, part);
  }

  override record(statement: Statement, rows: number, durationMs: number): void {
    if (this.#isShared) this.#whole.record(statement, rows, durationMs);
    super.record(statement, rows, durationMs);
  }

  override addRemote(host: string, cost: RemoteCost): void {
    if (this.#isShared) this.#whole.addRemote(host, cost);
    super.addRemote(host, cost);
  }

  override keepApart(reason: string): CostLedger {
    return this.#isShared ? this.#whole.keepApart(reason) : super.keepApart(reason);
  }

  // Also what the part does when it has closed itself: late in its own record, and the whole is still at work.
  // After its close it still is where its client has left and limits hold on, or where somebody pays for it.
  get #isShared(): boolean {
    const { isClosed, gate, countsAfter } = this.#whole;
    return !isClosed || countsAfter || gate?.isAtWork === true;
  }
}

function both(whole: Charge | undefined, part: Charge | undefined): Charge | undefined {
  return whole === undefined || part === undefined ? (part ?? whole) : new BothCharges(whole, part);
}

/** Ended in this order, so that the part is what runs then. */
class BothCalls implements OpenCall {
  readonly #whole: OpenCall;
  readonly #part: OpenCall;

  constructor(whole: OpenCall, part: OpenCall) {
    this.#whole = whole;
    this.#part = part;
  }

  end(failed?: boolean, bytes?: number): void {
    this.#whole.end(failed, bytes);
    this.#part.end(failed, bytes);
  }
}

class BothCharges implements Charge {
  readonly #whole: Charge;
  readonly #part: Charge;

  constructor(whole: Charge, part: Charge) {
    this.#whole = whole;
    this.#part = part;
  }

  queued(): void {
    this.#whole.queued();
    this.#part.queued();
  }

  sent(nowMs?: number): void {
    this.#whole.sent(nowMs);
    this.#part.sent(nowMs);
  }

  received(rows: number): void {
    this.#whole.received(rows);
    this.#part.received(rows);
  }

  ran(text: string | ReadsValues, parameters: unknown, target?: object): void {
    this.#whole.ran(text, parameters, target);
    this.#part.ran(text, parameters, target);
  }

  returned(rows: readonly unknown[], columns?: Columns): void {
    this.#whole.returned(rows, columns);
    this.#part.returned(rows, columns);
  }

  returnedOne(row: unknown, columns?: Columns): void {
    this.#whole.returnedOne(row, columns);
    this.#part.returnedOne(row, columns);
  }

  returnedUnread(count: number, keep: () => ReadsRows, mayWait: boolean): void {
    this.#whole.returnedUnread(count, keep, mayWait);
    this.#part.returnedUnread(count, keep, mayWait);
  }

  end(rows: number, failed?: boolean, bytes?: number): void {
    this.#whole.end(rows, failed, bytes);
    this.#part.end(rows, failed, bytes);
  }
}
