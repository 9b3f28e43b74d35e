import { performance } from 'node:perf_hooks';
import type { ResolvedLimit } from '../cost/resolved-limit';
import { CostLedger } from '../cost/cost-ledger';
import { PartLedger } from '../cost/part-ledger';
import type { LoopBlock } from '../cost/event-loop';
import { TimeAccount } from '../cost/time-account';
import type { RawStack } from '../kernel/call-site';
import type { GrowthHistory } from '../cost/growth-history';
import type { BreachRecord, CostRecord } from '../cost/cost-record';
import type { AcquiringLines } from './acquiring-lines';
import type { PoolLimits, PoolWait } from '../cost/pool-wait';
import type { Carrier } from './carrier';
import type { ContextKey } from './context-key';
import { type OwnLogFields, ownLogFields } from './own-log-fields';
import { eventLoop } from './context-storage';
import { beginTrace, type Trace } from './trace';
import type { TraceParent } from '../w3c/trace-parent';

const MAX_USER_ID = 200;
const NO_FIELDS: OwnLogFields = Object.freeze({});
const NO_BLOCKS: readonly LoopBlock[] = Object.freeze([]);
const NO_BREACHES: readonly BreachRecord[] = Object.freeze([]);

/**
 * The user of a unit of work. The application defines its type by declaration merging.
 *
 * @example
 * declare module 'nestjs-async-context' {
 *   interface ContextUser {
 *     id: string;
 *   }
 * }
 */
// oxlint-disable-next-line typescript/no-empty-interface -- augmented by the application
export interface ContextUser {}

/** The kind of a unit of work. */
export type ContextKind = 'http' | 'graphql' | 'rpc' | 'websocket' | 'job';

/** The name, in lower case, and the value of a header. */
export type OutgoingHeader = readonly [name: string, value: string];

/** What an application tells the services that it asks over HTTP. */
export interface OutgoingContext {
  /** Whether the host of an origin (`https://api.internal:8443`) may be told. Never throws. */
  allows(origin: string): boolean;
  /** The headers for one request, without those that are set already. Never throws. */
  headersOf(context: RequestContext, isSet: (name: string) => boolean): readonly OutgoingHeader[];
}

/** The Nest application that a context belongs to; another application does not see it. */
export interface ContextApplication {
  /** Who the user of a request is when neither `setUser()` nor `request.user` says so. Never throws. */
  userOf(request: object): ContextUser | undefined;
  /** Pattern of the route that took the request (`/orders/:id`), as the platform knows it. Never throws. */
  routeOf(request: object): string | undefined;
  /**
   * Fields of the application for the log lines of a unit of work, unchecked; an older copy of the package does not
   * have it. Never throws.
   */
  readonly logFieldsOf?: ((context: RequestContext) => unknown) | undefined;
  /** Reports that such a field could not be had; an older copy of the package does not have it. Never throws. */
  logFieldFailed?(where: string, error: unknown): void;
  /** From when on it wants to hear of its connection pools; a copy of the package may be older. */
  readonly poolLimits?: PoolLimits;
  /** Whether values are compared to find where they come from; an older copy of the package does not have it. */
  readonly comparesValues?: boolean;
  /**
   * Answers a request that still waits when an error that nobody awaits has ended its work, where the
   * application wants it; whether it was answered. An older copy of the package does not have it.
   */
  answerUnhandledError?(context: RequestContext, error: unknown): boolean;
  /** With `propagate.hosts`; an older copy of the package does not have it. */
  readonly outgoing?: OutgoingContext | undefined;
  /** Share of the traces begun here that are flagged as sampled; an older copy does not have it. */
  readonly sampledShare?: number;
  /** What travels of a unit of work to another process; an older copy of the package does not have it. Never throws. */
  carrierOf?(context: RequestContext, requestId?: string): Carrier;
  /** Whether that goes with the messages that clients of `@nestjs/microservices` send. */
  readonly carriesOnMessages?: boolean;
  /** The same for a job; `undefined` where nothing is to travel with jobs. Never throws. */
  jobCarrierOf?(context: RequestContext): Carrier | undefined;
  /** Closes a unit of work that it has opened, or taken from another application. Never throws. */
  close(context: RequestContext): void;
  /** Another application takes a unit of work that was opened here: those it has not look no further. Never throws. */
  handOver(context: RequestContext, observers: readonly object[]): void;
  /** Whether a sink of it looks at units of work while they are open. */
  observes(observer: object): boolean;
  /** Notes that a unit of work asks for something after its close. Never throws. */
  noteLate(context: RequestContext, what: string, stackBoundary: (...args: never[]) => unknown): void;
}

/** Types of resources that a unit of work can leave open. */
export type ResourceType =
  | 'interval'
  | 'timeout'
  | 'socket'
  | 'server'
  | 'udp-socket'
  | 'file-handle'
  | 'read-stream'
  | 'write-stream'
  | 'child-process'
  | 'file-watcher'
  | 'worker';

/** Notes what a unit of work opens, for the resource monitor. Shared by all copies of the package. */
export interface ResourceNotes {
  add(type: ResourceType, resource: object, stack: RawStack): void;
  /** From now on, what is open outlives its unit of work. */
  close(context: RequestContext): void;
}

/** A handler as it was found once and is shared by all of its units of work. */
export interface ContextHandler {
  /** `OrdersController.list` */
  readonly name: string;
  /** What its units of work have shown about its queries. */
  readonly history: GrowthHistory;
  /** What the watchdog of the event loop calls it: from 1, one of each application. */
  readonly number: number;
  /** Whether it is open for as long as its client likes: `@Sse()`. */
  readonly isStream?: boolean;
  /** Where its units of work ask for connections, once they have. */
  acquiringLines?: AcquiringLines;
}

/** What a unit of work is about, where a method of a provider is the whole of it. */
export interface ContextTask {
  /** Class of the provider, and name of its method. */
  readonly type: unknown;
  readonly key: PropertyKey;
  /** What the method is given: a job, a command, an event. */
  readonly subject: unknown;
}

/** The limits that are in force for a unit of work, as records tell of them. */
export interface ContextBudget {
  readonly limits: readonly ResolvedLimit[];
  /** Whose handler it is; the nearest that says so. */
  readonly owner: string | undefined;
  /** What stops it. */
  readonly hard: { readonly limits: readonly ResolvedLimit[] } | undefined;
}

/** What Nest calls the handler of a route with. */
export type HttpExchange = readonly [request: object, response: object, next?: unknown];

/**
 * What belongs to one unit of work: opened once, closed once.
 *
 * Plain fields instead of `#private` ones, because a second copy of the package shares the
 * storage and must be able to read what the first one opened.
 */
export class RequestContext {
  readonly startedAt = Date.now();
  readonly startMs = performance.now();
  /** `performance.now()` of the close; 0 while the unit of work is open. */
  endMs = 0;
  /** Who asked for this work, where that is known. */
  traceParent: TraceParent | undefined = undefined;
  /** `baggage` of whoever asked, to be passed on: https://www.w3.org/TR/baggage/ */
  baggage: string | undefined = undefined;
  /** Made when it is first asked for; `knownTrace` does not make it. */
  knownTrace: Trace | undefined = undefined;
  parentRequestId: string | undefined = undefined;
  handler: ContextHandler | undefined = undefined;
  route: string | undefined = undefined;
  /** Whether a route was asked for its host or version and has not taken it: the platform takes that for a match. */
  isPassedOn = false;
  /** Class name of the error that the handler ended with. */
  error: string | undefined = undefined;
  /** Errors of this work that nobody awaited. */
  unhandledErrors = 0;
  /** HTTP method. */
  method: string | undefined = undefined;
  /** HTTP status, once one was sent. */
  status: number | undefined = undefined;
  /** Whether the client left before the response was finished. */
  aborted = false;
  /** The platform's request (Express's or Fastify's), until the close. */
  request: object | undefined = undefined;
  /** The response of `node:http`, until the close. */
  response: { readonly headersSent: boolean; readonly writableEnded: boolean } | undefined = undefined;
  /** What an answer to an unhandled error needs, until the close; only where `answerUnhandledErrors` is on. */
  exchange: HttpExchange | undefined = undefined;
  /** What `setUser()` gave, until the close. */
  user: ContextUser | undefined = undefined;
  /** What outlives the user object, for log lines and the record. */
  userId: string | undefined = undefined;
  /** Who the user is to a caller that is believed, until the close; the request itself knows better. */
  carriedUser: ContextUser | undefined = undefined;
  values: Map<ContextKey<unknown> | string, unknown> | undefined = undefined;
  /** The application's own fields of log lines, as they were when the values were let go of. */
  logFieldsAtClose: OwnLogFields | undefined = undefined;
  /** What travels with the message that it has sent first, also when that leaves after the close. */
  outgoing: Carrier | undefined = undefined;
  closeCallbacks: (() => unknown)[] | undefined = undefined;
  /** What the route gave back: it may work on after the response, when the client has left. */
  handling: unknown = undefined;
  /** Which guard has refused it, and why. */
  refused: { readonly by: string; readonly reason: string } | undefined = undefined;
  budget: ContextBudget | undefined = undefined;
  breaches: readonly BreachRecord[] = NO_BREACHES;
  /** What everybody is shown who hears of its close, until the close is over. */
  recordAtClose: CostRecord | 'dropped' | undefined = undefined;
  /** Whether it took longer than a request should. */
  isSlow = false;
  /** Blocks of the event loop while it was open. */
  blocks: readonly LoopBlock[] = NO_BLOCKS;
  /** Only where the resource monitor looks at this unit of work. */
  resources: ResourceNotes | undefined = undefined;
  /** Its long waits for a connection, at most 5. */
  poolWaits: PoolWait[] | undefined = undefined;
  /** So that it opens no second one when the method is called in turn, by `super` for one. */
  task: ContextTask | undefined = undefined;
  /** What the record calls `within`. */
  within: string | undefined = undefined;
  /** The applications on the adapter of its request, where there are several: a route of any may take it. */
  sharedBy: ContextApplication[] | undefined = undefined;
  readonly time: TimeAccount;
  readonly cost: CostLedger;

  /** @param outer the unit of work that awaits this one: it has the same id and user, and the cost of both */
  constructor(
    public application: ContextApplication,
    public kind: ContextKind,
    public requestId: string,
    public outer: RequestContext | undefined = undefined,
  ) {
    this.time = new TimeAccount(eventLoop, this, this.startMs, outer?.time);
    this.cost = outer === undefined ? new CostLedger(this.time) : new PartLedger(this.time, outer.cost);
    this.cost.comparesValues = application.comparesValues === true;
  }

  /** The one that nobody of this process awaits: itself, unless it is a part of another one. */
  get outermost(): RequestContext {
    return this.outer === undefined ? this : this.outer.outermost;
  }

  /** Whether an application may see it. */
  isOf(application: ContextApplication): boolean {
    return this.application === application || this.sharedBy?.includes(application) === true;
  }

  /** Lets another application on the adapter of its request see it. */
  share(application: ContextApplication): void {
    if (!this.isOf(application)) (this.sharedBy ??= [this.application]).push(application);
  }

  get isClosed(): boolean {
    return this.endMs !== 0;
  }

  get elapsedMs(): number {
    return (this.endMs || performance.now()) - this.startMs;
  }

  /** Where it stands in a distributed trace: the active span of OpenTelemetry at its begin, else one of its own. */
  get trace(): Trace {
    return (this.knownTrace ??= beginTrace(this.traceParent, this.application.sampledShare));
  }

  /** Its trace, as far as it is known: one that begins here has none until somebody asks for it. */
  get traceId(): string | undefined {
    return (this.knownTrace ?? this.traceParent)?.traceId;
  }

  /** `setUser()`'s, else `request.user`, else what the application's option finds, else the caller's. */
  currentUser(): ContextUser | undefined {
    if (this.user !== undefined) return this.user;
    if (this.outer !== undefined) return this.outer.currentUser();
    if (this.request === undefined) return undefined;
    // Not `??`: Passport sets `request.user = false` where nobody is, and a guard lets that pass.
    return (
      (this.request as { user?: ContextUser }).user ||
      this.application.userOf(this.request) ||
      this.carriedUser
    );
  }

  /** The same, or nothing where a getter of the application throws. */
  knownUser(): ContextUser | undefined {
    try {
      return this.currentUser();
    } catch {
      return undefined;
    }
  }

  /** `GET /orders/:id` or the pattern of a message. Express knows it once its router has matched. */
  currentRoute(): string | undefined {
    if (this.route !== undefined || this.request === undefined || this.isPassedOn) return this.route;
    const pattern = this.application.routeOf(this.request);
    return pattern === undefined ? undefined : `${this.method} ${pattern}`;
  }

  /**
   * `String(user.id)`, where the user has an id, at most 200 characters; it outlives the user.
   * Never throws: it is asked by the logger, and the user may be an object with getters.
   */
  currentUserId(): string | undefined {
    if (this.isClosed) return this.userId;
    try {
      const id = (this.currentUser() as { id?: unknown } | undefined)?.id;
      if (typeof id === 'string') return id.slice(0, MAX_USER_ID);
      return typeof id === 'number' || typeof id === 'bigint' ? String(id).slice(0, MAX_USER_ID) : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Lets go of all that the request holds, so that a timer that lives on does not keep it.
   *
   * @param keepsData whether the user and the values stay for as long as something holds the context
   */
  release(keepsData: boolean): void {
    this.cost.limitHook = undefined;
    this.logFieldsAtClose = ownLogFields(this) ?? NO_FIELDS;
    if (keepsData) this.user = this.knownUser();
    else {
      this.user = undefined;
      this.values = undefined;
    }
    this.request = undefined;
    this.response = undefined;
    this.exchange = undefined;
    this.carriedUser = undefined;
    this.closeCallbacks = undefined;
    this.outer = undefined;
    this.task = undefined;
  }
}
