import { performance } from 'node:perf_hooks';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import type { RequestContext } from '../context/request-context';
import { readGrpcTimeout, readTimeout } from '../context/request-timeout';
import type { ResolvedDeadline } from './deadline-options';

const GRPC = 'grpc-timeout';

/** A call of `@grpc/grpc-js`; without a deadline it is infinite, or nothing. */
interface GrpcCall {
  getDeadline?(): Date | number | null | undefined;
}

/** Limits a unit of work to what is left of it, from a time by `performance.now()` on. */
type LimitTime = (context: RequestContext, atMs: number, from: string) => void;

/** Takes over how long a caller that is trusted still waits. */
export class IncomingDeadline {
  readonly #options: ResolvedDeadline;
  readonly #hookErrors: HookErrorReporter;
  readonly #limit: LimitTime;

  constructor(options: ResolvedDeadline, hookErrors: HookErrorReporter, limit: LimitTime) {
    this.#options = options;
    this.#hookErrors = hookErrors;
    this.#limit = limit;
  }

  /** Of an HTTP request. */
  read(
    context: RequestContext,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    request: unknown,
  ): void {
    const { header, trust } = this.#options;
    if (trust === false) return;
    const own = readTimeout(headers[header]);
    const timeoutMs = own ?? readGrpcTimeout(headers[GRPC]);
    if (timeoutMs === undefined || !this.#isTrusted(request)) return;
    this.#limit(context, context.startMs + timeoutMs, `${own === undefined ? GRPC : header} of the caller`);
  }

  /** Of a call of gRPC, whose library has read the header. Never throws. */
  readCall(context: RequestContext, args: readonly unknown[]): void {
    if (this.#options.trust === false) return;
    this.#hookErrors.guard('deadline of a call', () => {
      const call = args.find(isCall);
      const deadline = Number(call?.getDeadline?.() ?? Infinity);
      const leftMs = deadline - Date.now();
      if (!Number.isFinite(leftMs) || !this.#isTrusted(call)) return;
      this.#limit(context, performance.now() + Math.max(0, leftMs), `${GRPC} of the caller`);
    });
  }

  #isTrusted(request: unknown): boolean {
    const { trust } = this.#options;
    if (typeof trust !== 'function') return trust;
    return this.#hookErrors.ask('deadline.trust', () => trust(request)) === true;
  }
}

function isCall(value: unknown): value is GrpcCall {
  return typeof (value as GrpcCall | null | undefined)?.getDeadline === 'function';
}
