import type { Columns } from '../../cost/evidence/kept-results';
import type { Statement } from '../../sql/statement';
import type { ReadsRows } from '../../cost/unread-rows';
import type { OwnQueryHandle } from '../../cost/query-handle';
import type { Lease } from './lease';

/** A query on a connection that was checked out: until its end the connection is in it. */
export class HeldQuery implements OwnQueryHandle {
  readonly #charge: OwnQueryHandle | undefined;
  readonly #turn: number;
  #lease: Lease | undefined;

  constructor(lease: Lease, statement: Statement, charge: OwnQueryHandle | undefined) {
    this.#charge = charge;
    this.#lease = lease;
    this.#turn = lease.turn;
    lease.begin(statement);
  }

  queued(): void {
    this.#charge?.queued();
  }

  sent(nowMs?: number): void {
    this.#charge?.sent(nowMs);
  }

  received(rows: number): void {
    this.#charge?.received(rows);
  }

  returned(rows: readonly unknown[], columns?: Columns): void {
    this.#charge?.returned(rows, columns);
  }

  returnedOne(row: unknown, columns?: Columns): void {
    this.#charge?.returnedOne(row, columns);
  }

  returnedUnread(count: number, keep: () => ReadsRows, mayWait: boolean): void {
    this.#charge?.returnedUnread(count, keep, mayWait);
  }

  end(rows: number, failed?: boolean, bytes?: number): void {
    this.#lease?.end(this.#turn);
    this.#lease = undefined;
    this.#charge?.end(rows, failed, bytes);
  }
}
