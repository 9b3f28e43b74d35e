import { performance } from 'node:perf_hooks';
import { type CallDimension, CallLedger, keyOfCalls, nameOfTarget, type OpenCall } from './call-ledger';
import type { CallTrace, TracedCallRecord } from './call-trace';
import { captureStack, type RawStack } from '../kernel/call-site';
import { LONG_TASK_MS } from './event-loop';
import { Evidence } from './evidence/evidence';
import { MAX_RESULTS_OF_SHAPE } from './evidence/kept-results';
import { countRepeats, findRepeats } from './find-repeats';
import type { GrowthHistory } from './growth-history';
import { wantCaller } from './orm-call';
import type { RepeatFinding } from './repeat-finding';
import { type Charge, QueryCharge } from './query-charge';
import { noteParameters, RepeatTrace } from './repeat-trace';
import { type RemoteCost, RemoteLedger } from './remote-ledger';
import {
  CALL_SITE_AT_REPEAT,
  MAX_SHAPES,
  MIN_RUNS,
  newShape,
  type ShapeCost,
  type TableCost,
} from './shape-cost';
import type { SessionPlace } from '../sql/session-place';
import type { Statement } from '../sql/statement';
import { DATABASE, POOL, type TimeAccount } from './time-account';
import { TransactionCharge } from './transaction-charge';
import { type ReadsRows, UnreadRows } from './unread-rows';

/** Shapes that are told apart while it is open: an N+1 may come after a hundred others. 300 bytes each. */
const MAX_FOLLOWED = 500;
const OTHER = { shape: 'other', table: undefined, kind: 'read' } as const;
const MAX_REASONS = 20;
const MAX_REASON_LENGTH = 200;
/** Shapes and targets of late work that are told apart. */
const MAX_LATE = 20;
/** One that repeats this often has a stack of its own in each unit of work: beside its queries that is little. */
const OWN_CALL_SITE_AT_REPEAT = 25;

const readNothing: ReadsRows = () => [];

/** A shape whose repeats are no finding. */
export interface IgnoredShape {
  /** From when on they are one again, in milliseconds since the epoch. */
  readonly endsAt: number;
  matches(shape: string): boolean;
}

/** Asked before a query is sent once the limit hook applies; it may throw to keep the query back. */
export interface LimitHook {
  /** Ask from this query of the unit of work on; 0 asks before each. */
  atQuery: number;
  /** The same for the calls of each other dimension. */
  atCall: number;
  /** @param what the shape of the query, or the target of the call */
  beforeQuery(ledger: CostLedger, what: string, stackBoundary: (...args: never[]) => unknown): void;
}

/** Stands in front of one unit of work that may have to be stopped; it throws to keep back what is asked for. */
export interface CostGate {
  /** Whether the unit of work is open, or works on where its client has left. */
  readonly isAtWork: boolean;
  /** Before anything else of a statement, also of one that comes late. */
  admit(ledger: CostLedger, statement: Statement, stackBoundary: (...args: never[]) => unknown): void;
  /** When a query is counted, and not sent yet; also one that comes late. */
  check(ledger: CostLedger, what: string, stackBoundary: (...args: never[]) => unknown): void;
  /** The same for a call. */
  checkCall(
    ledger: CostLedger,
    dimension: CallDimension,
    target: string,
    stackBoundary: (...args: never[]) => unknown,
  ): void;
}

/** Counts what one unit of work asks of its databases. */
export class CostLedger {
  queries = 0;
  errors = 0;
  writes = 0;
  transactions = 0;
  rows = 0;
  durationMs = 0;
  busyMs = 0;
  maxConcurrent = 0;
  late = 0;
  /** What was asked for after the close, and how often; absent until something is. */
  lateWork: Map<string, number> | undefined = undefined;
  /** Told of each thing that is asked for after the close, by whoever wants to hear of it. */
  onLate: (() => void) | undefined = undefined;
  /** Whether what is asked for after the close is counted in full, as somebody pays for it. */
  countsAfter = false;
  /** Where that is; absent until something is asked for. */
  after: CostLedger | undefined = undefined;
  bytes = 0;
  waitMs = 0;
  isClosed = false;
  limitHook: LimitHook | undefined = undefined;
  /** Absent unless a hard limit or a deadline is declared: all that it costs the others is to look. */
  gate: CostGate | undefined = undefined;
  /** Where the application was when the budget broke. */
  breachStack: RawStack | undefined = undefined;
  /** By main table; absent until there is one, as most units of work make no query. */
  tables: Map<string, TableCost> | undefined = undefined;
  /** By statement shape; absent until there is one. */
  shapes: Map<string, ShapeCost> | undefined = undefined;
  /** What the shapes beyond the first 500 cost, as one. */
  otherShapes: ShapeCost | undefined = undefined;
  /** What is not a query, by dimension; absent until there is one. */
  calls: Map<CallDimension, CallLedger> | undefined = undefined;
  /** What the services that were asked have said of their cost; absent until one has. */
  remote: RemoteLedger | undefined = undefined;
  /** What `contextService.uncounted()` kept apart, by reason. */
  apart: Map<string, CostLedger> | undefined = undefined;
  /** What earlier units of work of the same handler have shown. */
  history: GrowthHistory | undefined = undefined;
  /** Shapes whose repeats are declared to be known. */
  ignored: readonly IgnoredShape[] | undefined = undefined;
  /** When shapes ran; absent until something has returned rows. */
  repeatTrace: RepeatTrace | undefined = undefined;
  /** What its statements have done to sessions that their drivers do not tell apart; absent until one has. */
  place: SessionPlace | undefined = undefined;
  /** Loads by relation of an ORM; absent until there is one. */
  loads: Map<object, number> | undefined = undefined;
  /** Whether it looks where the values of its statements come from. */
  comparesValues = false;
  /** What it knows of that; absent until a driver has said what it sends. */
  evidence: Evidence | undefined = undefined;
  /** Queries whose rows come one by one, and are yet to be shown to it. */
  reading: QueryCharge[] | undefined = undefined;
  /** Rows that came as bytes, for as long as nothing repeats; absent until there are some. */
  unread: UnreadRows | undefined = undefined;
  /** Calls of providers; absent unless they are traced. */
  callTrace: CallTrace | undefined = undefined;
  #open = 0;
  #busy = 0;
  #busySince = 0;

  /** @param time where the wall time of the unit of work goes */
  constructor(readonly time?: TimeAccount) {}

  /** That of the unit of work which nobody of this process awaits: itself, unless it counts for another one. */
  get whole(): CostLedger {
    return this;
  }

  /** Milliseconds in which it blocked the event loop, in stretches of 50 ms and longer. */
  get loopBlockMs(): number {
    return this.time?.blockedMs ?? 0;
  }

  /** Queries that have not ended, also those that came after the close. */
  get underWay(): number {
    return this.#open + (this.after?.underWay ?? 0);
  }

  /** Commands to a cache so far. */
  get cache(): number {
    return this.calls?.get('cache')?.count ?? 0;
  }

  /** Outbound HTTP requests so far. */
  get http(): number {
    return this.calls?.get('http')?.count ?? 0;
  }

  /** Messages published so far. */
  get messages(): number {
    return this.calls?.get('messages')?.count ?? 0;
  }

  /** Queries that the services that were asked have said to make, so far. */
  get remoteQueries(): number {
    return this.remote?.queries ?? 0;
  }

  /** Rows of these queries, so far. */
  get remoteRows(): number {
    return this.remote?.rows ?? 0;
  }

  /** Runs of the one shape whose values came from the rows of an earlier result, so far. */
  get repeats(): number {
    return countRepeats(this);
  }

  /** Queries that repeat, so far. */
  findings(): readonly RepeatFinding[] {
    return findRepeats(this);
  }

  /** Calls of traced providers, so far. */
  providerCalls(): readonly TracedCallRecord[] {
    return this.callTrace?.records() ?? [];
  }

  /**
   * Counts a query that is about to be sent; `undefined` for one that comes too late, unless somebody pays for it.
   * What it throws is not sent.
   *
   * @param parameters hash of its parameters; `undefined` when they cannot be compared
   * @param isQueued whether it waits for a connection: until `sent()` it only waits
   */
  begin(
    statement: Statement,
    stackBoundary: (...args: never[]) => unknown,
    parameters?: number,
    isQueued = false,
  ): Charge | undefined {
    const { gate, limitHook } = this;
    const { kind } = statement;
    if (gate !== undefined) gate.admit(this, statement, stackBoundary);
    if (this.isClosed) return this.#beginLate(statement, stackBoundary);
    if (kind === 'transaction') return this.#beginTransaction(isQueued);
    this.queries += 1;
    if (kind === 'write') this.writes += 1;
    const shape = this.#shapeOf(statement);
    const table = this.#tableOf(shape, statement);
    const runs = (shape.count += 1);
    if (table !== undefined) table.count += 1;
    if (gate !== undefined) gate.check(this, statement.shape, stackBoundary);
    if (limitHook !== undefined && this.queries >= limitHook.atQuery)
      limitHook.beforeQuery(this, statement.shape, stackBoundary);
    if (runs === 1) this.history?.noteSite(shape.key, stackBoundary);
    else if (runs === CALL_SITE_AT_REPEAT) shape.stack = this.#seeRepeat(shape, stackBoundary);
    else if (runs === OWN_CALL_SITE_AT_REPEAT && shape.stack === undefined)
      this.#seeOwnRepeat(shape, stackBoundary);
    else if (runs === MIN_RUNS) shape.method = this.callTrace?.methodInForce();
    if (kind === 'read') this.#compare(shape, parameters);
    this.repeatTrace?.run(shape);
    if ((shape.open += 1) > shape.maxConcurrent) shape.maxConcurrent = shape.open;
    if ((this.#open += 1) > this.maxConcurrent) this.maxConcurrent = this.#open;
    const now = performance.now();
    if (!isQueued) this.#resume(now);
    this.time?.begin(isQueued ? POOL : DATABASE, now);
    return new QueryCharge(this, shape, table, now, isQueued);
  }

  /** Counts what is not a query and is about to be sent; `undefined` for what is not charged. */
  beginCall(
    dimension: CallDimension,
    target: string,
    stackBoundary: (...args: never[]) => unknown,
  ): OpenCall | undefined {
    const calls = (this.calls ??= new Map<CallDimension, CallLedger>());
    let ledger = calls.get(dimension);
    if (ledger === undefined) calls.set(dimension, (ledger = new CallLedger(dimension, this.time)));
    if (this.isClosed) {
      ledger.late += 1;
      this.#noteLate(`${dimension} ${target}`);
      return undefined;
    }
    ledger.count += 1;
    this.gate?.checkCall(this, dimension, target, stackBoundary);
    const limitHook = this.limitHook;
    if (limitHook !== undefined && ledger.count >= limitHook.atCall)
      limitHook.beforeQuery(this, target, stackBoundary);
    const call = ledger.begin(target);
    if (ledger.count >= CALL_SITE_AT_REPEAT) this.#seeRepeatedCall(ledger, dimension, target, stackBoundary);
    return call;
  }

  /** Adds what an answer says of its cost; one that comes after the close is not believed to belong to it. */
  addRemote(host: string, cost: RemoteCost): void {
    if (!this.isClosed) (this.remote ??= new RemoteLedger()).add(host, cost);
  }

  /** Counts the time until its end as waiting for a connection. */
  beginWait(): { end(): void } {
    const startMs = performance.now();
    let hasEnded = false;
    this.time?.begin(POOL, startMs);
    return {
      end: () => {
        if (hasEnded) return;
        hasEnded = true;
        const now = performance.now();
        this.giveUp(now - startMs, now);
      },
    };
  }

  /** A query that was begun just now waits for a connection. */
  queue(begunMs: number): void {
    this.#pause(begunMs);
    this.time?.change(DATABASE, POOL, begunMs);
  }

  /** It has its connection. */
  send(waitedMs: number, now: number): void {
    this.time?.change(POOL, DATABASE, now);
    this.waitMs += this.heardMs(now - waitedMs, now);
    this.#resume(now);
  }

  /** A query is under way no longer. */
  finish(now: number): void {
    this.time?.end(DATABASE, now);
    this.#pause(now);
  }

  /** It has waited, and waits no longer. */
  giveUp(waitedMs: number, now: number): void {
    this.time?.end(POOL, now);
    this.waitMs += this.heardMs(now - waitedMs, now);
  }

  /**
   * Milliseconds of a stretch that ends now, without those in which others blocked the event loop, or it was starved:
   * the answer may have been there, and nobody could read it. A short one costs one comparison.
   */
  heardMs(fromMs: number, nowMs: number): number {
    const passedMs = nowMs - fromMs;
    if (passedMs < LONG_TASK_MS || this.time === undefined) return passedMs;
    return passedMs - this.time.deafMs(fromMs, nowMs);
  }

  /** Notes when a shape has returned rows. */
  note(shape: ShapeCost, rows: number): void {
    (this.repeatTrace ??= new RepeatTrace()).result(shape, rows);
  }

  /** Where the values of its statements come from, if it looks. */
  follow(): Evidence | undefined {
    if (this.reading !== undefined) this.showRows();
    return this.comparesValues ? (this.evidence ??= new Evidence(this)) : undefined;
  }

  /** Shows the rows that have come one by one since it was asked last. */
  showRows(): void {
    const reading = this.reading ?? [];
    this.reading = undefined;
    for (const charge of reading) charge.showRows();
  }

  /** Shows rows that are bytes still, without reading them where they may wait. */
  noteUnread(shape: ShapeCost, count: number, keep: () => ReadsRows, mayWait: boolean): void {
    if (this.evidence === undefined || this.isClosed) return;
    const unread = (this.unread ??= new UnreadRows());
    // More results are not kept, and so never read.
    const isKept = shape.keptResults < MAX_RESULTS_OF_SHAPE;
    const { rows, columns } = unread.add(isKept ? count : 1, isKept ? keep() : readNothing, mayWait);
    this.evidence.answered(shape, rows, columns);
  }

  /** Lets go of all rows and values of its statements; what is to be said of them stays. */
  releaseValues(): void {
    if (this.reading !== undefined) this.showRows();
    this.unread = undefined;
    this.evidence?.release(this.history);
  }

  /** Adds what a query turned out to cost. */
  settle(
    shape: ShapeCost,
    table: TableCost | undefined,
    durationMs: number,
    rows: number,
    failed: boolean,
    bytes: number,
  ): void {
    this.#open -= 1;
    shape.open -= 1;
    this.bytes += bytes;
    if (failed) this.errors += 1;
    this.#add(shape, table, durationMs, rows);
  }

  /** Where what `contextService.uncounted()` runs for a reason is counted. */
  keepApart(reason: string): CostLedger {
    const apart = (this.apart ??= new Map<string, CostLedger>());
    const name = reason.slice(0, MAX_REASON_LENGTH);
    const key = apart.has(name) || apart.size < MAX_REASONS ? name : 'other';
    let ledger = apart.get(key);
    if (ledger === undefined) apart.set(key, (ledger = new CostLedger(this.time)));
    return ledger;
  }

  /** Adds a query that was measured elsewhere, as one piece. */
  record(statement: Statement, rows: number, durationMs: number): void {
    if (this.isClosed) {
      this.late += 1;
      this.#noteLate(statement.shape);
      if (this.countsAfter) (this.after ??= new CostLedger()).record(statement, rows, durationMs);
      return;
    }
    const shape = this.#count(statement);
    if (shape.count === MIN_RUNS) shape.method = this.callTrace?.methodInForce();
    this.repeatTrace?.run(shape);
    if (this.maxConcurrent === 0) this.maxConcurrent = 1;
    if (this.#busy === 0) this.busyMs += durationMs;
    this.time?.record(durationMs, performance.now());
    this.#add(shape, this.#tableOf(shape, statement), durationMs, rows);
  }

  /**
   * Counts the load of a relation of an ORM, which is about to run one shape, and says whether a stack is taken: as
   * often as for the shape itself.
   */
  takesLoad(relation: object): boolean {
    if (this.isClosed) return false;
    const loads = (this.loads ??= new Map<object, number>());
    const count = (loads.get(relation) ?? 0) + 1;
    loads.set(relation, count);
    if (count === 1) return this.history?.takesLoad(relation) === true;
    if (count === CALL_SITE_AT_REPEAT) return this.history?.takesRepeatedLoad(relation) === true;
    return count === OWN_CALL_SITE_AT_REPEAT;
  }

  #seeRepeat({ key }: ShapeCost, stackBoundary: (...args: never[]) => unknown): RawStack | undefined {
    return this.history === undefined
      ? captureStack(stackBoundary)
      : this.history.seeRepeat(key, stackBoundary);
  }

  #seeRepeatedCall(
    { targets }: CallLedger,
    dimension: CallDimension,
    target: string,
    stackBoundary: (...args: never[]) => unknown,
  ): void {
    const name = nameOfTarget(target);
    const cost = targets.get(name);
    if (cost?.count !== CALL_SITE_AT_REPEAT) return;
    const key = keyOfCalls(dimension, name);
    cost.stack =
      this.history === undefined ? captureStack(stackBoundary) : this.history.seeRepeat(key, stackBoundary);
  }

  #seeOwnRepeat(shape: ShapeCost, stackBoundary: (...args: never[]) => unknown): void {
    const stack = captureStack(stackBoundary);
    shape.stack = stack;
    wantCaller(stack, caller => (shape.stack = caller));
  }

  #beginLate(statement: Statement, stackBoundary: (...args: never[]) => unknown): Charge | undefined {
    this.late += 1;
    this.#noteLate(statement.shape);
    if (statement.kind !== 'transaction') this.gate?.check(this, statement.shape, stackBoundary);
    return this.countsAfter ? (this.after ??= new CostLedger()).begin(statement, stackBoundary) : undefined;
  }

  #beginTransaction(isQueued: boolean): Charge | undefined {
    this.transactions += 1;
    if (this.time === undefined) return undefined;
    const charge = new TransactionCharge(this.time);
    if (isQueued) charge.queued();
    return charge;
  }

  #noteLate(what: string): void {
    const work = (this.lateWork ??= new Map<string, number>());
    const key = work.has(what) || work.size < MAX_LATE ? what : 'other';
    work.set(key, (work.get(key) ?? 0) + 1);
    this.onLate?.();
  }

  #resume(now: number): void {
    if (this.#busy === 0) this.#busySince = now;
    this.#busy += 1;
  }

  #pause(now: number): void {
    this.#busy -= 1;
    if (this.#busy === 0) this.busyMs += this.heardMs(this.#busySince, now);
  }

  #count(statement: Statement): ShapeCost {
    this.queries += 1;
    if (statement.kind === 'write') this.writes += 1;
    const shape = this.#shapeOf(statement);
    shape.count += 1;
    const table = this.#tableOf(shape, statement);
    if (table !== undefined) table.count += 1;
    return shape;
  }

  #compare(shape: ShapeCost, parameters: number | undefined): void {
    if (shape.seenSince !== this.writes) {
      shape.seenSince = this.writes;
      shape.firstSeen = undefined;
      shape.seen?.clear();
    }
    noteParameters(shape, parameters);
  }

  #add(shape: ShapeCost, table: TableCost | undefined, durationMs: number, rows: number): void {
    this.durationMs += durationMs;
    this.rows += rows;
    shape.durationMs += durationMs;
    shape.rows += rows;
    if (rows > 0) this.note(shape, rows);
    if (table === undefined) return;
    table.durationMs += durationMs;
    table.rows += rows;
  }

  #shapeOf(statement: Statement): ShapeCost {
    const shapes = (this.shapes ??= new Map<string, ShapeCost>());
    const key = statement.key ?? statement.shape;
    const known = shapes.get(key);
    if (known !== undefined) return known;
    if (shapes.size >= MAX_FOLLOWED) return (this.otherShapes ??= newShape(OTHER, undefined));
    const shape = newShape(statement, this.#keepTable(statement.table));
    shapes.set(key, shape);
    return shape;
  }

  #tableOf(shape: ShapeCost, statement: Statement): TableCost | undefined {
    return shape === this.otherShapes ? this.#keepTable(statement.table) : shape.tableCost;
  }

  #keepTable(table: string | undefined): TableCost | undefined {
    if (table === undefined) return undefined;
    const tables = (this.tables ??= new Map<string, TableCost>());
    let cost = tables.get(table);
    if (cost === undefined && tables.size < MAX_SHAPES) {
      cost = { count: 0, durationMs: 0, rows: 0 };
      tables.set(table, cost);
    }
    return cost;
  }
}
