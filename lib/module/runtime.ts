import {
  type BeforeApplicationShutdown,
  Logger,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import type { ApplicationConfig, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import type { Server } from 'node:http';
import { ApplicationRuntime } from './application-runtime';
import type { AsyncContextOptions } from './options';
import type { ResolvedOptions } from '../units/resolved-options';
import { readOptions } from './options-reader';
import { foundNest, unsupportedNest } from './nest-version';
import { startLines } from './start-lines';
import { unusedBudgets } from './unused-budgets';
import { uncoveredClients } from '../instrumentation/uncovered-clients';
import { expiredExemptions } from '../budget/expired-exemptions';
import { ContextService } from '../context/context.service';
import { contextStorage, eventLoop } from '../context/context-storage';
import { oncePerProcess, processShare } from '../kernel/once-per-process';
import { oneLine } from '../kernel/one-line';
import { setTimeout } from '../kernel/real-timers';
import { hasOtherProtocol, isFirstProtocol } from '../kernel/protocol';
import { prepareCallSites } from '../kernel/call-site';
import { keepTickShape } from '../kernel/tick-shape';
import { ProcessFigures } from '../record/process-figures';
import { HookErrorReporter } from '../reporting/hook-error-reporter';
import { loopMonitor, type LoopUser } from '../detectors/stalls/loop-monitor';
import { reports } from '../reporting/reports';
import { StallLog } from '../detectors/stalls/stall-log';
import { ResourceMonitor } from '../detectors/resources/resource-monitor';
import type { LostContextRules } from '../detectors/lost-contexts/lost-contexts';
import { UnhandledErrors } from '../detectors/errors/unhandled-errors';
import { poolWatch } from '../detectors/pools/pool-watch';
import { BullmqEntry } from '../entry/bullmq.entry';
import { ContextInterceptor } from '../entry/context.interceptor';
import { noteErrorsOfRequests } from '../units/error-note';
import { interceptGateways } from '../entry/gateway.interceptor';
import { graphqlDrivers } from '../entry/graphql/drivers';
import { HttpEntry } from '../entry/http.entry';
import { coverProviders } from '../entry/library-covers';
import { FilterAnswer } from '../handlers/filter-answer';
import { UnhandledErrorAnswer } from '../units/unhandled-error-answer';
import { closeIdleConnections } from '../units/idle-connections';
import { forgetProviders, registerProviders } from '../units/owners';
import { coverRoutes } from '../units/route-cover';
import { RpcEntry } from '../entry/rpc.entry';
import { UnitsOfWork } from '../units/units-of-work';
import type { OverloadEntry } from '../entry/overload.entry';
import { UpgradeEntry } from '../entry/upgrade.entry';
import { coverWebSockets } from '../entry/websocket.entry';
import type { OnClose } from '../guards/when-over';
import { GuardKit } from '../guards/guard-kit';
import { Breakers } from '../guards/breaker/breakers';
import { Refusals } from '../guards/refusals';
import { Instrumentations } from './instrumentations';
import { attachSinks } from '../sinks/attached-sink';
import { parts } from './parts';
import type { HttpPropagation } from '../propagation/http/http-propagation';
import { MessageClients } from '../propagation/messages/message-clients';
import type { ProviderTracer } from '../detectors/calls/provider-tracer';

/** What the sinks and the requests before them may take at a shutdown, in milliseconds: with the rest, 5 s. */
const SHUTDOWN_MS = 4_000;
/** For so long a stall waits for the end of the work that has caused it. */
const STALL_TOLD_MS = 1_000;
/** What is left to the sinks where the requests took longer. */
const LEAST_SINKS_MS = 1_000;

/**
 * A module that is compiled and never closed, as in the spec that Nest generates, takes nothing back. So what
 * the process keeps of an application that has not begun does not hold its container, and goes with it.
 */
const abandoned = new FinalizationRegistry<() => void>(takeBack => takeBack());

/** Apart from the constructor, so that it does not hold the application. */
function takeBackOf(...hooks: readonly ({ uninstall(): void } | undefined)[]): () => void {
  return () => {
    for (const hook of hooks) hook?.uninstall();
  };
}

/** All that one application has of this package: made once, started and stopped with it. */
export class AsyncContextRuntime
  extends ApplicationRuntime
  implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly contextService: ContextService;
  readonly processFigures: ProcessFigures;
  readonly resourceMonitor: ResourceMonitor;
  readonly guardKit: GuardKit;
  readonly tracer: ProviderTracer | undefined;
  readonly #logger = new Logger('AsyncContext');
  readonly #modules: ModulesContainer;
  readonly #config: ApplicationConfig;
  readonly #units: UnitsOfWork;
  readonly #interceptor: ContextInterceptor;
  /** Absent without `overload`. */
  readonly #overload: OverloadEntry | undefined;
  readonly #upgrades: UpgradeEntry;
  readonly #http: HttpEntry;
  readonly #rpc = new RpcEntry();
  readonly #messageClients = new MessageClients();
  readonly #bullmq = new BullmqEntry();
  readonly #hookErrors: HookErrorReporter;
  readonly #instrumentations: Instrumentations;
  /** Absent without `propagate.hosts`. */
  readonly #propagation: HttpPropagation | undefined;
  readonly #options: AsyncContextOptions;
  /** What the first lines tell. */
  readonly #told: Pick<ResolvedOptions, 'enabled' | 'budget' | 'sinks'>;
  readonly #lostRules: LostContextRules;
  readonly #stalls: Pick<ResolvedOptions, 'stallMs' | 'warmUpMs'>;
  /** While it serves. */
  #loopUser: LoopUser | undefined;
  readonly #reportsPerMinute: number;
  readonly #monitored: ResolvedOptions['resourceMonitor'];
  readonly #host: HttpAdapterHost;
  #leaveWebSockets: (() => void) | undefined;
  #stopping: { readonly sinceMs: number; readonly leaveConnections: (() => void) | undefined } | undefined;
  #phase: 'created' | 'initialized' | 'serving' | 'stopped' = 'created';

  /** The one of an application: the module may have been imported twice. */
  static of(
    this: void,
    options: AsyncContextOptions,
    modules: ModulesContainer,
    host: HttpAdapterHost,
    config: ApplicationConfig,
  ): AsyncContextRuntime {
    // Of a second copy of the package it is the first one's: this one gives way.
    const known = processShare.applications.get(modules) as AsyncContextRuntime | undefined;
    if (known !== undefined) {
      known.compare(options);
      return known;
    }
    const runtime = new AsyncContextRuntime(options, modules, host, config);
    processShare.applications.set(modules, runtime);
    return runtime;
  }

  private constructor(
    options: AsyncContextOptions,
    modules: ModulesContainer,
    host: HttpAdapterHost,
    config: ApplicationConfig,
  ) {
    super();
    const resolved: ResolvedOptions = readOptions(options);
    const hookErrors = (this.#hookErrors = new HookErrorReporter(resolved.errorMessages));
    this.tracer = resolved.providerCalls ? new (parts.tracer().ProviderTracer)(hookErrors) : undefined;
    this.#options = options;
    this.#told = resolved;
    this.#modules = modules;
    this.#config = config;
    this.#host = host;
    this.#instrumentations = new Instrumentations(resolved.instrumentations, resolved.pools, hookErrors);
    const refusals = new Refusals();
    this.#units = new UnitsOfWork(resolved, modules, hookErrors, this.#instrumentations);
    if (this.#units.outgoing !== undefined) {
      this.#propagation = new (parts.propagation().HttpPropagation)(words =>
        hookErrors.say('propagate', words),
      );
    }
    this.#units.closer.onFirstServed = () => {
      this.#watchLost();
      this.#propagation?.installLoaded();
    };
    const answers = new FilterAnswer(modules, config, host);
    if (resolved.answerUnhandledErrors) this.#units.unhandledErrorAnswer = new UnhandledErrorAnswer(answers);
    const { breaker, problemJson } = resolved.guards;
    if (breaker !== undefined) {
      const onClose: OnClose = (context, fn) => this.#units.onClose(context, fn);
      this.#units.closer.breakers = new Breakers(
        breaker,
        answers,
        refusals,
        hookErrors,
        onClose,
        problemJson,
        poolWatch(),
      );
    }
    const { overload } = resolved;
    if (overload !== undefined) {
      this.#units.overloadMonitor = new (parts.overloadMonitor().OverloadMonitor)(
        overload,
        refusals,
        hookErrors,
      );
      this.#overload = new (parts.overloadEntry().OverloadEntry)(this.#units.overloadMonitor);
    }
    this.contextService = new ContextService(this.#units);
    this.guardKit = new GuardKit(resolved.guards, this.#units, this.contextService, hookErrors, refusals);
    this.processFigures = new ProcessFigures({
      attribution: () => this.#instrumentations.attribution,
      eventLoopDelay: () => loopMonitor().delay,
      sinkStats: () => this.#units.queue.stats(),
      refusals: () => refusals.counts,
      overload: () => this.#units.overloadMonitor?.state,
    });
    attachSinks(resolved.sinks, this.processFigures, (where, call) => hookErrors.guard(where, call));
    this.resourceMonitor = new ResourceMonitor(this.#units, hookErrors);
    this.#monitored = resolved.resourceMonitor;
    this.#reportsPerMinute = resolved.reportsPerMinute;
    this.#interceptor = new ContextInterceptor(this.#units);
    this.#stalls = resolved;
    this.#lostRules = resolved.lostContexts;
    noteErrorsOfRequests();
    interceptGateways(modules);
    this.#http = new HttpEntry(this.#units, hookErrors, resolved);
    this.#http.install(host);
    this.#upgrades = new UpgradeEntry(this.#units, hookErrors, resolved);
    // Routes that are out of reach have the interceptor: it is there before they are made.
    if (!coverRoutes(modules, this.#units)) this.#intercept();
    this.#rpc.install(modules, { units: this.#units, interceptor: this.#interceptor });
    this.#messageClients.install();
    coverProviders(modules, hookErrors);
    this.#installBullmq();
    this.#instrumentations.install();
    this.#propagation?.install();
    abandoned.register(
      this.#units,
      takeBackOf(this.#instrumentations, this.#messageClients, this.#bullmq, this.#propagation),
      this,
    );
  }

  onModuleInit(): void {
    if (this.#phase !== 'created') return;
    this.#phase = 'initialized';
    reports.use(this, this.#reportsPerMinute);
    this.#bullmq.use(this.#modules, this.#units);
    this.#installBullmq();
    coverProviders(this.#modules, this.#hookErrors);
    registerProviders(this.#modules, this.#units);
    this.tracer?.traceAll(this.#modules);
    this.#leaveWebSockets = coverWebSockets(this.#config, this.#units);
    this.#upgrades.install(this.#host);
    this.#overload?.install(this.#host);
    const drivers = graphqlDrivers(this.#modules);
    if (drivers.length > 0)
      parts.graphql().coverGraphql(drivers, this.#modules, this.#units, this.#hookErrors);
    // Not earlier, so that routes, which are made by now, go without it. Hooks of global modules
    // come first: GraphQL resolvers are made after this.
    this.#intercept();
  }

  onApplicationBootstrap(): void {
    if (this.#phase !== 'initialized') return;
    this.#phase = 'serving';
    // Drivers that were loaded since: by factories, by `await import()` in a provider.
    this.#instrumentations.install();
    this.#propagation?.install();
    this.#installBullmq();
    this.#watchLostWhenServing();
    prepareCallSites();
    keepTickShape();
    this.#loopUser = loopUser(this.#stalls, this.#hookErrors, this.#units);
    loopMonitor().start(this.#loopUser);
    this.#units.overloadMonitor?.start();
    this.#units.closer.breakers?.start();
    if (this.#monitored !== undefined) this.resourceMonitor.start(this.#monitored);
    this.#warnOfNest();
    const { warning: ofDrivers } = this.#instrumentations;
    if (ofDrivers !== undefined) this.#logger.warn(ofDrivers);
    if (this.tracer?.warning !== undefined) this.#logger.warn(this.tracer.warning);
    if (this.#told.enabled) UnhandledErrors.ofProcess().install(this);
    if (hasOtherProtocol()) oncePerProcess('other protocol', () => this.#sayOther());
    const warnings = this.#told.enabled
      ? [...expiredExemptions(this.#modules, Date.now()), ...unusedBudgets(this.#modules)]
      : [];
    for (const warning of warnings) this.#logger.warn(oneLine(warning));
    this.#sayStart();
  }

  beforeApplicationShutdown(): void {
    if (this.#phase === 'stopped') return;
    this.#stopping ??= {
      sinceMs: performance.now(),
      leaveConnections: this.#hookErrors.ask('closing connections', () =>
        closeIdleConnections(this.#host, () => this.#http.answered),
      ),
    };
    // The server is closed after this, which takes as long as its requests: they are written afterwards.
    void this.#hookErrors.settle('writing to the sinks', () => this.#units.queue.flush());
  }

  /** One part that fails keeps no other from being taken back. */
  async onApplicationShutdown(): Promise<void> {
    if (this.#phase === 'stopped') return;
    const isServing = this.#phase === 'serving';
    this.#phase = 'stopped';
    abandoned.unregister(this);
    this.#takeBack('closing connections', () => this.#stopping?.leaveConnections?.());
    if (isServing) this.#takeBack('lost contexts', () => this.#instrumentations.lost.leave(this));
    this.#takeBack('unhandled errors', () => UnhandledErrors.ofProcess().uninstall(this));
    this.#takeBack('instrumentations', () => this.#instrumentations.uninstall());
    this.#takeBack('propagate', () => this.#propagation?.uninstall());
    this.#units.outgoing = undefined;
    this.#takeBack('request entry', () => this.#http.uninstall());
    this.#takeBack('breakers', () => this.#units.closer.breakers?.stop());
    this.#takeBack('overload', () => this.#units.overloadMonitor?.stop());
    this.#takeBack('overload entry', () => this.#overload?.uninstall());
    this.#takeBack('upgrade entry', () => this.#upgrades.uninstall());
    this.#takeBack('WebSocket entry', () => this.#leaveWebSockets?.());
    this.#takeBack('message entry', () => this.#rpc.uninstall(this.#modules));
    this.#takeBack('message clients', () => this.#messageClients.uninstall());
    this.#takeBack('bullmq entry', () => this.#bullmq.uninstall(this.#units));
    this.#takeBack('providers', () => forgetProviders(this.#modules, this.#units));
    // Of an older copy of the package, it is a promise.
    const loopUser = this.#loopUser;
    if (loopUser !== undefined)
      await this.#hookErrors.settle('watching the event loop, stop', () => loopMonitor().stop(loopUser));
    await this.#hookErrors.settle('closing the sinks', () => this.#units.queue.close(this.#leftMs()));
    this.#takeBack('reports', () => reports.leave(this));
  }

  #takeBack(what: string, undo: () => unknown): void {
    this.#hookErrors.guard(`${what}, shutdown`, undo);
  }

  /** What the sinks may take. A clock that a test has faked since may have gone back. */
  #leftMs(): number {
    const takenMs = this.#stopping === undefined ? 0 : performance.now() - this.#stopping.sinceMs;
    return Math.min(SHUTDOWN_MS, Math.max(LEAST_SINKS_MS, SHUTDOWN_MS - takenMs));
  }

  /** Once a process: its applications have the same Nest. */
  #warnOfNest(): void {
    const warning = unsupportedNest(foundNest()?.version);
    if (warning === undefined) return;
    oncePerProcess('nest version', () => {
      this.#logger.warn(warning);
      return true;
    });
  }

  /**
   * The modules of the application start after this one: what they ask for in `onApplicationBootstrap()` belongs to no
   * request. So an application with an HTTP server waits until that listens, or until its first request or message:
   * with `init()` alone (`inject()` of Fastify, a serverless adapter) it never listens. A job may belong to the start:
   * it is no sign.
   */
  #watchLostWhenServing(): void {
    const server = this.#host.httpAdapter?.getHttpServer() as Partial<Server> | undefined;
    if (server?.listening !== false || typeof server.once !== 'function') this.#watchLost();
    else {
      server.once('listening', () => this.#watchLost());
      this.#units.onFirstOpened = () => this.#watchLost();
    }
  }

  #watchLost(): void {
    if (this.#phase === 'serving') this.#instrumentations.lost.use(this, this.#lostRules);
  }

  /** What it counts, and where that goes: once an application. */
  #sayStart(): void {
    const { budget, sinks } = this.#told;
    const lines = startLines({
      counted: this.#instrumentations.counted,
      uncovered: uncoveredClients(),
      budget,
      sinks: sinks.map(({ name }) => name),
    });
    for (const line of lines) this.#logger.log(oneLine(line));
  }

  #sayOther(): true {
    const drivers = isFirstProtocol ? 'of the other version are' : 'of this version are';
    this.#logger.warn(
      'The process has loaded two incompatible versions of nestjs-async-context. Each sees only the ' +
        `contexts of its own applications, and queries in applications ${drivers} not counted. ` +
        'Install a single version; `npm ls nestjs-async-context` shows which packages bring them.',
    );
    return true;
  }

  /** First in the list, so that it is outermost. */
  #intercept(): void {
    const interceptors = this.#config.getGlobalInterceptors();
    if (!interceptors.includes(this.#interceptor)) interceptors.unshift(this.#interceptor);
  }

  #installBullmq(): void {
    this.#hookErrors.guard('bullmq entry', () => this.#bullmq.install());
  }

  /** Says so where options are given that are not in force. */
  compare(options: AsyncContextOptions): void {
    if (options === this.#options || Object.keys(options).length === 0) return;
    this.#logger.warn(
      'AsyncContextModule.forRoot() was imported twice in one application, the second time with different ' +
        'options, which are ignored. Import it with options only once, in the root module.',
    );
  }
}

/** What an application does about a blocked event loop. */
function loopUser(
  { stallMs, warmUpMs }: Pick<ResolvedOptions, 'stallMs' | 'warmUpMs'>,
  hookErrors: HookErrorReporter,
  units: UnitsOfWork,
): LoopUser {
  const log = (units.closer.workLog.stalls = new StallLog(stallMs, warmUpMs));
  return {
    stallMs,
    report: reason => hookErrors.report('event loop watchdog', reason),
    onBlock(block) {
      if (!log.isOf(block)) return;
      // The loop has been blocked for long enough: the line is written when it has caught up, by nobody.
      setImmediate(() => {
        eventLoop.turns(performance.now());
        contextStorage.run(undefined as never, () =>
          hookErrors.guard('stall log', () => {
            // Whose work it was says it when that ends, with all else that is wrong; unless it takes long.
            if (block.culprit === undefined) log.write(block);
            else
              setTimeout(() => hookErrors.guard('stall log', () => log.write(block)), STALL_TOLD_MS).unref();
          }),
        );
        eventLoop.turns(performance.now());
      }).unref();
    },
  };
}
