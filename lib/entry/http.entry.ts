import type { HttpAdapterHost } from '@nestjs/core';
import type { ServerResponse } from 'node:http';
import type { ResolvedOptions } from '../units/resolved-options';
import type { RequestContext } from '../context/request-context';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { emitInside } from '../units/emit-inside';
import { IncomingHeaders } from '../units/incoming-headers';
import {
  type PlatformRequest,
  type RawRequest,
  rawOf,
  remember,
  rememberedContext,
} from '../context/remembered-context';
import { coverMiddleware } from '../units/middleware-cover';
import { enterRequests, type PlatformResponse, type RequestEntry } from '../units/request-hook';
import { whenOver } from '../units/response-end';
import { answerServerTiming } from '../units/server-timing';
import type { UnitsOfWork } from '../units/units-of-work';

type HttpEntryOptions = Pick<ResolvedOptions, 'requestId' | 'serverTiming' | 'propagate'>;

const PARSED = /^application\/(?:json|x-www-form-urlencoded)\s*(?:;|$)/i;

/** Opens the context of each HTTP request at the earliest point that the platform has. */
export class HttpEntry implements RequestEntry {
  readonly #units: UnitsOfWork;
  readonly #hookErrors: HookErrorReporter;
  readonly #responseHeader: string | false;
  readonly #serverTiming: ResolvedOptions['serverTiming'];
  readonly #incoming: IncomingHeaders;
  #leave: (() => void) | undefined;
  #answered = 0;

  constructor(units: UnitsOfWork, hookErrors: HookErrorReporter, options: HttpEntryOptions) {
    this.#incoming = new IncomingHeaders(units, options);
    this.#units = units;
    this.#hookErrors = hookErrors;
    this.#responseHeader = options.requestId.responseHeader;
    this.#serverTiming = options.serverTiming;
  }

  /** How many requests have ended so far. */
  get answered(): number {
    return this.#answered;
  }

  /** With `NestFactory` the adapter is there already; a testing module gets it after its providers. */
  install(host: HttpAdapterHost): void {
    if (host.httpAdapter) this.#installOn(host.httpAdapter);
    else host.init$.subscribe(() => this.#installOn(host.httpAdapter));
  }

  /** From then on another application on the same adapter opens the contexts of its requests. */
  uninstall(): void {
    this.#leave?.();
  }

  #installOn(adapter: HttpAdapterHost['httpAdapter'] | null | undefined): void {
    // A microservice or a plain application context has none.
    if (!adapter) return;
    this.#leave = enterRequests(adapter, this);
    this.#hookErrors.guard('middleware setup', () => coverMiddleware(adapter));
  }

  contextOf(request: PlatformRequest, response: PlatformResponse): RequestContext | undefined {
    const context = this.#find(request, 'writeHead' in response ? response : response.raw);
    if (context !== undefined && this.#units.unhandledErrorAnswer !== undefined)
      context.exchange ??= [request, response];
    return context;
  }

  #find(request: PlatformRequest, response: ServerResponse): RequestContext | undefined {
    const known = rememberedContext(request);
    if (known !== undefined) {
      known.share(this.#units);
      // An upgrade: it was opened before the platform has made a request of it.
      if (known.response === undefined && !known.isClosed) known.request = request;
      return known;
    }
    try {
      return this.#open(rawOf(request), response, request);
    } catch (error) {
      this.#hookErrors.report('request entry', error);
      return undefined;
    }
  }

  #wantsTiming(request: PlatformRequest): boolean {
    const wanted = this.#serverTiming;
    if (typeof wanted === 'boolean') return wanted;
    return this.#hookErrors.ask('serverTiming', () => wanted(request)) === true;
  }

  #open(raw: RawRequest, response: ServerResponse, request: PlatformRequest): RequestContext {
    const units = this.#units;
    const context = units.open('http', units.requestIds.of(raw, request), raw.method);
    this.#incoming.read(context, raw);
    context.request = request;
    context.response = response;
    units.incomingDeadline.read(context, raw.headers, request);
    remember(raw, context);
    if (bringsStream(raw)) emitInside(raw, context);
    whenOver(context, raw, response, isCut => {
      if (response.headersSent) context.status = response.statusCode;
      context.aborted = isCut;
      this.#answered += 1;
      units.close(context);
    });
    if (this.#wantsTiming(request)) answerServerTiming(response, context);
    if (this.#responseHeader !== false) response.setHeader(this.#responseHeader, context.requestId);
    return context;
  }
}

/** Whether its body may be read in chunks. Not for those that a parser reads whole: it costs them 3 % on Node 20. */
function bringsStream({ headers }: RawRequest): boolean {
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) return false;
  return !PARSED.test(headers['content-type'] ?? '');
}
