import { AsyncResource } from 'node:async_hooks';
import { clearTimeout, setTimeout } from '../../kernel/real-timers';
import { callSitesOf, captureStack, type RawStack, siteOf, sitesOf, framesOf } from '../../kernel/call-site';
import type { Statement } from '../../sql/statement';
import { isPlumbing, packageOf } from '../../kernel/package-frames';
import { cut, number, Report, type ReportLine } from '../../reporting/report-text';
import { type ReportKind, reports } from '../../reporting/reports';
import { ReportLogger } from '../../reporting/report-logger';

const LOST_CONTEXTS: ReportKind = {
  name: 'reports of queries outside of any request',
  one: 'report of queries outside of any request',
  isError: false,
};

/** A stack costs some 20 µs to read; a busy poller must not pay that for each of its queries. */
const STACKS_PER_SECOND = 50;
/** Queries within this time are reported in one line. */
const COLLECT_MS = 1_000;
const WINDOW_MS = 60_000;
/** Maximum number of shapes in a line. */
const MAX_SHAPES = 3;
/** Of a stack; more than are taken. */
const MAX_FRAMES = 50;

/** How one application wants queries outside of any unit of work to be reported. */
export interface LostContextRules {
  readonly log: boolean | 'once';
  /** Packages whose queries are not reported. */
  readonly ignore: readonly string[];
}

/** Collected for the next line. */
interface Collected {
  count: number;
  /** The first shapes, each with the place of its first query. */
  readonly shapes: Map<string, string | undefined>;
  hasMore: boolean;
  /** What to do about them. */
  readonly fixes: Set<string>;
}

/** Counts queries outside of any unit of work and reports where they come from: in one line a minute for all of them. */
export class LostContexts {
  /** Queries outside of any unit of work since the first application was serving. */
  count = 0;
  readonly #logger = new ReportLogger('AsyncContext');
  // A timer that is begun in a request would keep that request's store.
  readonly #outside = new AsyncResource('nestjs-async-context.lost');
  readonly #users = new Map<object, LostContextRules>();
  #collected: Collected | undefined;
  #timer: NodeJS.Timeout | undefined;
  #saidMs = -Infinity;
  #hasSaid = false;
  #stacks = 0;
  #stacksSinceMs = -Infinity;

  /** Number of applications that serve; queries before and after that belong to startup and shutdown. */
  get serving(): number {
    return this.#users.size;
  }

  use(user: object, rules: LostContextRules): void {
    this.#users.set(user, rules);
  }

  /** The last one to leave logs what was collected. */
  leave(user: object): void {
    if (this.#users.size > 1 || !this.#users.has(user)) {
      this.#users.delete(user);
      return;
    }
    this.#say();
    this.#users.delete(user);
    this.#saidMs = -Infinity;
    this.#hasSaid = false;
  }

  report(statement: Statement, stackBoundary: (...args: never[]) => unknown): void {
    if (this.#users.size === 0) return;
    this.count += 1;
    if (!this.#isWanted()) return;
    const collected = (this.#collected ??= { count: 0, shapes: new Map(), hasMore: false, fixes: new Set() });
    const shape = cut(statement.shape);
    const isNamed = collected.shapes.has(shape);
    const isFull = collected.shapes.size >= MAX_SHAPES;
    const ignored = this.#ignored();
    const stack = (isNamed || isFull) && ignored === undefined ? undefined : this.#stackOf(stackBoundary);
    if (stack !== undefined && ignored !== undefined && comesFrom(stack, ignored)) return;
    collected.count += 1;
    if (!isNamed && isFull) collected.hasMore = true;
    else if (!isNamed) {
      collected.shapes.set(shape, stack && placeOf(stack));
      collected.fixes.add(stack === undefined ? FIX : fixOf(stack));
    }
    this.#sayLater();
  }

  /** Whether an application wants a line and has not got one yet. */
  #isWanted(): boolean {
    for (const { log } of this.#users.values()) {
      if (log === true || (log === 'once' && !this.#hasSaid)) return true;
    }
    return false;
  }

  /** Packages that all applications ignore, because a query cannot be attributed to one of the applications. */
  #ignored(): readonly string[] | undefined {
    const [first = [], ...others] = [...this.#users.values()].map(({ ignore }) => ignore);
    const ofAll = first.filter(name => others.every(ignore => ignore.includes(name)));
    return ofAll.length === 0 ? undefined : ofAll;
  }

  #stackOf(stackBoundary: (...args: never[]) => unknown): RawStack | undefined {
    const nowMs = performance.now();
    const passedMs = nowMs - this.#stacksSinceMs;
    // Fake timers may turn back even this clock.
    if (passedMs >= 1_000 || passedMs < 0) {
      this.#stacksSinceMs = nowMs;
      this.#stacks = 0;
    }
    if (this.#stacks >= STACKS_PER_SECOND) return undefined;
    this.#stacks += 1;
    return captureStack(stackBoundary);
  }

  #sayLater(): void {
    if (this.#timer !== undefined) return;
    const nowMs = performance.now();
    const inMs = Math.max(COLLECT_MS, Math.min(WINDOW_MS, this.#saidMs + WINDOW_MS - nowMs));
    this.#timer = this.#outside.runInAsyncScope(() => setTimeout(() => this.#say(), inMs).unref());
  }

  #say(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const collected = this.#collected;
    this.#collected = undefined;
    if (collected === undefined || collected.count === 0 || !this.#isWanted()) return;
    this.#saidMs = performance.now();
    if (reports.admit(LOST_CONTEXTS, 'all', 0, 0) === undefined) return;
    this.#hasSaid = true;
    try {
      this.#outside.runInAsyncScope(() => this.#logger.warn(reportOf(collected)));
    } catch {
      // Out of a timer, what a logger throws would end the process.
    }
  }
}

const FIX_OF_START =
  'give it a unit of work of its own: @RunInContext() on the method, or contextService.run(seed, fn)';
const FIX_OF_LISTENER =
  'an emitter calls it: @RunInContext() on the listener, or contextService.bind(fn) if a request adds it';
/** In the order in which they are likely. */
const FIX =
  'if it starts by itself (a timer, a queue), use @RunInContext() or contextService.run(seed, fn); ' +
  'if it is a callback that lost its request, contextService.bind(fn); ' +
  'if it is work of a package, lostContexts: { ignore: [its name] }';

/** The one remedy that applies, as far as the stack shows what has called the application. */
function fixOf(stack: RawStack): string {
  const files = framesOf(stack).map(frame => siteOf(frame)?.file ?? '');
  const own = new Set(sitesOf(stack, MAX_FRAMES).map(({ file }) => file));
  if (own.size === 0) {
    // Whoever ignored a driver would hear of no lost context that it meets.
    const name = files.flatMap(file => packageOf(file) ?? []).findLast(found => !isPlumbing(found));
    return name === undefined ? FIX : `it is work of ${name}: set lostContexts: { ignore: ['${name}'] }`;
  }
  const outside = files.slice(files.findIndex(file => own.has(file)));
  const callers = outside.slice(outside.findIndex(file => !own.has(file)));
  // Up to what else of the application is on the stack.
  const until = callers.findIndex(file => own.has(file));
  const nearest = until === -1 ? callers : callers.slice(0, until);
  // A package that is driven by a socket has an emitter further up as well.
  const first = nearest.find(file => file === 'node:events' || packageOf(file) !== undefined);
  if (first === 'node:events') return FIX_OF_LISTENER;
  const caller = first && packageOf(first);
  if (caller !== undefined)
    return `${caller} calls it: contextService.bind(fn) if a request passes the callback, otherwise @RunInContext() or contextService.run(seed, fn)`;
  return nearest.includes('node:internal/timers') ? `a timer runs it: ${FIX_OF_START}` : FIX;
}

function reportOf({ count, shapes, hasMore, fixes }: Collected): Report {
  const [only, ...others] = fixes;
  const fix = only === undefined || others.length > 0 ? FIX : only;
  const headline =
    count === 1
      ? 'A query ran outside of any request, job or message'
      : `${number(count)} queries ran outside of any request, job or message`;
  const named = [...shapes].map(([shape, place]): ReportLine => [
    'query',
    place === undefined ? shape : `${shape} at ${place}`,
  ]);
  if (hasMore) named.push(['query', `${named.pop()![1]}, and others`]);
  const lines: ReportLine[] = [...named, ['fix', fix]];
  return new Report(headline, lines, {
    queries: count,
    shape: [...shapes.keys()].join('; '),
    at: [...shapes.values()].filter(place => place !== undefined).join('; '),
    fix,
  });
}

/** The nearest line of the application, else of the package that called the driver or the ORM. */
function placeOf(stack: RawStack): string | undefined {
  return callSitesOf(stack)[0];
}

function comesFrom(stack: RawStack, names: readonly string[]): boolean {
  return packagesOf(stack).some(name => names.includes(name));
}

function packagesOf(stack: RawStack): string[] {
  return framesOf(stack).flatMap(frame => packageOf(siteOf(frame)?.file ?? '') ?? []);
}
