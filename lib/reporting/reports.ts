import { AsyncResource } from 'node:async_hooks';
import { oncePerProcess } from '../kernel/once-per-process';
import { type HeldBack, heldBackReport } from './held-back-report';
import { ReportLogger } from './report-logger';

/** Kind of a report. */
export interface ReportKind {
  /** Plural: `'slow requests'`. */
  readonly name: string;
  /** Singular; absent in an older copy of the package. */
  readonly one?: string;
  readonly isError: boolean;
}

/** Reports of one kind with the same subject: a handler and a cause. */
interface Subject {
  /** `performance.now()` of the last one that was logged. */
  saidMs: number;
  /** Milliseconds after it in which further ones are suppressed. */
  windowMs: number;
  /** Suppressed since the last one that was logged. */
  suppressed: number;
  /** Suppressed in this minute, and the longest of them. */
  heldBack: number;
  mostMs: number;
}

interface KindState {
  readonly kind: ReportKind;
  readonly subjects: Map<string, Subject>;
  /** Logged, and suppressed, in this minute. */
  said: number;
  heldBack: number;
}

const MINUTE_MS = 60_000;
const PER_MINUTE = 60;
/** Per kind; reports of further subjects are suppressed and counted. */
const MAX_SUBJECTS = 1_000;

/**
 * Decides which reports are logged, for all applications of the process and before a report is built: one per window
 * for each subject, and a limited number per minute. Suppressed reports are counted and summarized once a minute.
 *
 * Warnings get half of the limit, so that slow requests cannot suppress breaches. A kind gets at most half of what the
 * others have left, so that each kind gets its turn, and a third for subjects that were logged before, so that they
 * cannot suppress new ones. The first error of a kind in a minute is always logged.
 */
export class Reports {
  readonly #logger = new ReportLogger('Reports');
  // A timer that is begun in a request would keep that request's store.
  readonly #outside = new AsyncResource('nestjs-async-context.reports');
  readonly #users = new Map<object, number>();
  readonly #kinds = new Map<string, KindState>();
  #perMinute = PER_MINUTE;
  #sinceMs = -Infinity;
  #warnings = 0;
  #errors = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param perMinute if several applications share a process, the largest value applies */
  use(user: object, perMinute: number): void {
    this.#users.set(user, perMinute);
    this.#perMinute = Math.max(...this.#users.values());
  }

  /** When the last user leaves, logs the summary of suppressed reports and resets everything. */
  leave(user: object): void {
    if (!this.#users.delete(user)) return;
    if (this.#users.size > 0) {
      this.#perMinute = Math.max(...this.#users.values());
      return;
    }
    clearTimeout(this.#timer);
    this.#endMinute(-Infinity);
    this.#kinds.clear();
    this.#perMinute = PER_MINUTE;
  }

  /**
   * Asks whether to log a report; call this before building it.
   *
   * @param subject handler and cause, as shown in the summary
   * @param ms duration, if that makes one report worse than another
   * @returns how many were suppressed since the last one that was logged; `undefined` if this one is suppressed, too
   */
  admit(kind: ReportKind, subject: string, ms = 0, windowMs = MINUTE_MS): number | undefined {
    const nowMs = this.#now();
    const state = this.#stateOf(kind);
    const known = state.subjects.get(subject);
    if (!this.#isFree(state, known, nowMs)) {
      this.#holdBack(state, known ?? noteSubject(state, subject), ms, nowMs);
      return undefined;
    }
    state.said += 1;
    if (kind.isError) this.#errors += 1;
    else this.#warnings += 1;
    return say(known ?? noteSubject(state, subject), nowMs, windowMs);
  }

  /** The same without counting, for a report that is asked for again soon. */
  wouldAdmit(kind: ReportKind, subject: string): boolean {
    const nowMs = this.#now();
    const state = this.#stateOf(kind);
    return this.#isFree(state, state.subjects.get(subject), nowMs);
  }

  /** Whether its window is what suppresses it: then the log already has a similar report. */
  isWithinWindow(kind: ReportKind, subject: string): boolean {
    const nowMs = this.#now();
    const known = this.#stateOf(kind).subjects.get(subject);
    return known !== undefined && isWithin(known, nowMs);
  }

  /** Until when it is suppressed, by `performance.now()`. */
  heldUntilMs(kind: ReportKind, subject: string): number {
    const nowMs = this.#now();
    const known = this.#stateOf(kind).subjects.get(subject);
    if (known !== undefined && isWithin(known, nowMs)) return known.saidMs + known.windowMs;
    return this.#sinceMs + MINUTE_MS;
  }

  /** Counts a report that cannot be logged. */
  holdBack(kind: ReportKind, subject: string): void {
    const nowMs = this.#now();
    const state = this.#stateOf(kind);
    this.#holdBack(state, state.subjects.get(subject) ?? noteSubject(state, subject), 0, nowMs);
  }

  #isFree(state: KindState, known: Subject | undefined, nowMs: number): boolean {
    if (known === undefined ? isFull(state) : isWithin(known, nowMs)) return false;
    // Of a small bound nothing is left to the kinds that come last; there are three of errors.
    if (state.kind.isError && state.said === 0) return true;
    const room = this.#perMinute - this.#warnings - this.#errors;
    const ofKind = state.kind.isError
      ? room
      : Math.min(room, Math.floor(this.#perMinute / 2) - this.#warnings);
    const wasSaid = known !== undefined && known.saidMs > -Infinity;
    return state.said * (wasSaid ? 2 : 1) < ofKind;
  }

  #holdBack(state: KindState, subject: Subject | undefined, ms: number, nowMs: number): void {
    state.heldBack += 1;
    if (subject !== undefined) {
      subject.suppressed += 1;
      subject.heldBack += 1;
      if (ms > subject.mostMs) subject.mostMs = ms;
    }
    if (this.#timer === undefined) this.#arm(this.#sinceMs + MINUTE_MS - nowMs);
  }

  #stateOf(kind: ReportKind): KindState {
    let state = this.#kinds.get(kind.name);
    if (state === undefined) {
      this.#kinds.set(kind.name, (state = { kind, subjects: new Map(), said: 0, heldBack: 0 }));
    }
    return state;
  }

  #now(): number {
    const nowMs = performance.now();
    const passedMs = nowMs - this.#sinceMs;
    // Fake timers may turn back even this clock.
    if (passedMs >= MINUTE_MS || passedMs < 0) this.#endMinute(nowMs);
    return nowMs;
  }

  #arm(ms: number): void {
    const timer = this.#outside.runInAsyncScope(() =>
      setTimeout(() => {
        // It is another one's minute where one was ended without it: a timer may be a fake.
        if (timer === this.#timer) this.#endMinute(performance.now());
      }, ms),
    );
    timer.unref();
    this.#timer = timer;
  }

  #endMinute(nowMs: number): void {
    const held: HeldBack[] = [];
    for (const state of this.#kinds.values()) {
      if (state.heldBack > 0) held.push(takeHeldBack(state));
      state.said = 0;
      if (state.subjects.size > MAX_SUBJECTS / 2) {
        for (const [name, subject] of state.subjects) {
          if (!isWithin(subject, nowMs)) state.subjects.delete(name);
        }
      }
    }
    this.#sinceMs = nowMs;
    this.#warnings = 0;
    this.#errors = 0;
    this.#timer = undefined;
    if (held.length > 0) this.#outside.runInAsyncScope(() => this.#write(held));
  }

  #write(held: readonly HeldBack[]): void {
    try {
      this.#logger.warn(heldBackReport(held));
    } catch {
      // The application's logger failed; there is nowhere left to say so.
    }
  }
}

/** The one of the process. */
export const reports: Reports = oncePerProcess('reports', () => new Reports());

function isWithin({ saidMs, windowMs }: Subject, nowMs: number): boolean {
  const passedMs = nowMs - saidMs;
  return passedMs >= 0 && passedMs < windowMs;
}

function isFull({ subjects }: KindState): boolean {
  return subjects.size >= MAX_SUBJECTS;
}

function noteSubject(state: KindState, name: string): Subject | undefined {
  if (isFull(state)) return undefined;
  const subject: Subject = { saidMs: -Infinity, windowMs: 0, suppressed: 0, heldBack: 0, mostMs: 0 };
  state.subjects.set(name, subject);
  return subject;
}

/** Returns how many were suppressed before. */
function say(subject: Subject | undefined, nowMs: number, windowMs: number): number {
  if (subject === undefined) return 0;
  const { suppressed } = subject;
  subject.saidMs = nowMs;
  subject.windowMs = windowMs;
  subject.suppressed = 0;
  return suppressed;
}

/** The suppressed reports of the minute that ends, with their most frequent subject. */
function takeHeldBack(state: KindState): HeldBack {
  const { name: kind, one } = state.kind;
  const held: HeldBack = { kind, one, count: state.heldBack, worst: undefined };
  state.heldBack = 0;
  for (const [name, subject] of state.subjects) {
    const { heldBack: count, mostMs } = subject;
    if (count > (held.worst?.count ?? 0)) held.worst = { subject: name, count, mostMs };
    subject.heldBack = 0;
    subject.mostMs = 0;
  }
  return held;
}
