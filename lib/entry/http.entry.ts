import type { HttpAdapterHost } from '@nestjs/core';
import type { ServerResponse } from 'node:http';
import type { ResolvedOptions } from '../async-context.options';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import type { FaultReporter } from '../diagnosis/fault-reporter';
import { IncomingHeaders } from './incoming-headers';
import {
  type PlatformRequest,
  type RawRequest,
  rawOf,
  remember,
  rememberedContext,
} from './remembered-context';
import { coverMiddleware } from './middleware-cover';
import { whenOver } from './response-end';
import { RouteCover } from './route-cover';
import { answerServerTiming } from './server-timing';
import type { UnitsOfWork } from './units-of-work';

/** What Express and Fastify hand to a request hook: Fastify's carry the raw ones. */
type RequestHook = (
  request: PlatformRequest,
  response: ServerResponse | { readonly raw: ServerResponse },
  done: (error?: unknown) => void,
) => unknown;

/** The adapter's one slot for a request hook; both platforms have it, the public type of adapters does not. */
interface HookedAdapter {
  onRequestHook?: RequestHook;
  setOnRequestHook(hook: RequestHook): void;
}

type HttpEntryOptions = Pick<ResolvedOptions, 'requestId' | 'serverTiming' | 'propagate'>;

/** Opens the context of each HTTP request at the earliest point that the platform has. */
export class HttpEntry {
  readonly #units: UnitsOfWork;
  readonly #faults: FaultReporter;
  readonly #responseHeader: string | false;
  readonly #serverTiming: ResolvedOptions['serverTiming'];
  readonly #routes: RouteCover;
  readonly #incoming: IncomingHeaders;

  constructor(units: UnitsOfWork, faults: FaultReporter, options: HttpEntryOptions) {
    this.#routes = new RouteCover(units);
    this.#incoming = new IncomingHeaders(units, options);
    this.#units = units;
    this.#faults = faults;
    this.#responseHeader = options.requestId.responseHeader;
    this.#serverTiming = options.serverTiming;
  }

  /** With `NestFactory` the adapter is there already; a testing module gets it after its providers. */
  install(host: HttpAdapterHost): void {
    if (host.httpAdapter) this.#installOn(host.httpAdapter);
    else host.init$.subscribe(() => this.#installOn(host.httpAdapter));
  }

  #installOn(adapter: HttpAdapterHost['httpAdapter'] | null | undefined): void {
    // A microservice or a plain application context has none.
    if (!adapter) return;
    this.#routes.install(adapter);
    if ('setOnRequestHook' in adapter) {
      this.#hook(adapter as unknown as HookedAdapter);
    } else {
      (adapter as HttpAdapterHost['httpAdapter']).use(
        (request: PlatformRequest, response: ServerResponse, next: () => void) => {
          this.#enter(request, response, next);
        },
      );
    }
    this.#faults.guard('cover of middleware', () => coverMiddleware(adapter));
  }

  /**
   * The hook runs before any middleware. It has room for one function, and `@nestjs/observe` puts
   * its own there: what is in it, or put into it later, runs inside the context.
   */
  #hook(adapter: HookedAdapter): void {
    let theirs = adapter.onRequestHook;
    adapter.setOnRequestHook((request, response, done) =>
      this.#enter(request, response, () =>
        theirs === undefined ? done() : theirs.call(adapter, request, response, done),
      ),
    );
    adapter.setOnRequestHook = hook => {
      theirs = hook;
    };
  }

  #enter(
    request: PlatformRequest,
    response: ServerResponse | { readonly raw: ServerResponse },
    next: () => unknown,
  ): unknown {
    const raw = rawOf(request);
    const context = this.#contextOf(raw, 'raw' in response ? response.raw : response, request);
    if (context === undefined) return next();
    if (this.#units.lostErrorAnswer !== undefined) context.exchange ??= [request, response];
    return contextStorage.run(context, next);
  }

  #contextOf(
    raw: RawRequest,
    response: ServerResponse,
    request: PlatformRequest,
  ): RequestContext | undefined {
    const known = rememberedContext(request);
    if (known?.application === this.#units) {
      // An upgrade: it was opened before the platform has made a request of it.
      if (known.response === undefined && !known.isClosed) known.request = request;
      return known;
    }
    try {
      return this.#open(raw, response, request);
    } catch (error) {
      this.#faults.report('entry of a request', error);
      return undefined;
    }
  }

  #wantsTiming(request: PlatformRequest): boolean {
    const wanted = this.#serverTiming;
    if (typeof wanted === 'boolean') return wanted;
    return this.#faults.ask('serverTiming', () => wanted(request)) === true;
  }

  #open(raw: RawRequest, response: ServerResponse, request: PlatformRequest): RequestContext {
    const units = this.#units;
    const context = units.open('http', units.requestIds.of(raw, request), raw.method);
    this.#incoming.read(context, raw);
    context.request = request;
    context.response = response;
    remember(raw, context);
    whenOver(raw, response, isCut => {
      if (response.headersSent) context.status = response.statusCode;
      context.aborted = isCut;
      units.close(context);
    });
    if (this.#wantsTiming(request)) answerServerTiming(response, context);
    if (this.#responseHeader !== false) response.setHeader(this.#responseHeader, context.requestId);
    return context;
  }
}
