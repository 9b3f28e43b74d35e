import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { Observable } from 'rxjs';
import { contextStorage } from '../context/context-storage';
import type { ContextKind, RequestContext } from '../context/request-context';
import { isCoveredRoot } from './graphql/schema-cover';
import { type PlatformRequest, rememberedContext } from '../context/remembered-context';
import { noteErrorsOf, observeInside } from '../units/settle';
import type { UnitsOfWork } from '../units/units-of-work';

const KINDS: Readonly<Record<string, ContextKind>> = {
  http: 'http',
  graphql: 'graphql',
  rpc: 'rpc',
  ws: 'websocket',
};

/**
 * Runs handlers inside their context, and says which handler it is: messages, GraphQL, and what
 * else Nest calls through interceptors. Routes have a cover of their own, see `coverRoutes()`.
 */
export class ContextInterceptor implements NestInterceptor {
  readonly #units: UnitsOfWork;
  readonly #close: (context: RequestContext) => void;

  constructor(units: UnitsOfWork) {
    this.#units = units;
    this.#close = context => units.close(context);
  }

  intercept(execution: ExecutionContext, next: CallHandler): Observable<unknown> {
    const kind = KINDS[execution.getType<string>()] ?? 'job';
    const store = contextStorage.getStore();
    if (store !== undefined && this.#covers(store, kind)) {
      this.#name(store, kind, execution);
      return noteErrorsOf(store, next.handle());
    }
    const request = requestOf(execution, kind);
    const remembered = request && rememberedContext(request);
    if (remembered !== undefined && this.#covers(remembered, kind)) {
      this.#name(remembered, kind, execution);
      return contextStorage.run(remembered, () => observeInside(remembered, next.handle()));
    }
    const context = this.#units.open(kind);
    this.#name(context, kind, execution);
    return contextStorage.run(context, () => observeInside(context, next.handle(), this.#close));
  }

  /** A GraphQL operation over HTTP lives in the context of its request. */
  #covers(context: RequestContext, kind: ContextKind): boolean {
    if (!context.isOf(this.#units)) return false;
    if (context.kind !== kind && !(kind === 'graphql' && context.kind === 'http')) return false;
    // A response can be over before its handler starts (an abort); other work begins anew.
    return kind === 'http' || !context.isClosed;
  }

  #name(context: RequestContext, kind: ContextKind, execution: ExecutionContext): void {
    if (kind === 'graphql') {
      this.#nameOperation(context, execution);
    } else if (context.handler === undefined) {
      this.#units.setHandler(
        context,
        this.#units.handlers.ofMethod(execution.getClass(), execution.getHandler()),
      );
    }
  }

  /** An operation is called by its first root field; further ones bring their budgets along. */
  #nameOperation(context: RequestContext, execution: ExecutionContext): void {
    const [, , , info] = execution.getArgs<[unknown, unknown, unknown, GraphqlInfo | undefined]>();
    if (info === undefined || info.path.prev !== undefined) return;
    // It has its name, and the budgets of all of its root fields, before their guards.
    if (context.route !== undefined && isCoveredRoot(info.parentType)) return;
    const handler = this.#units.handlers.ofMethod(execution.getClass(), execution.getHandler());
    if (context.handler !== undefined) {
      if (context.handler !== handler) this.#units.addHandler(context, handler);
      return;
    }
    context.kind = 'graphql';
    context.route = `${info.parentType.name}.${info.fieldName}`;
    this.#units.setHandler(context, handler);
  }
}

interface GraphqlInfo {
  readonly fieldName: string;
  readonly parentType: { readonly name: string };
  readonly path: { readonly prev?: unknown };
}

function requestOf(execution: ExecutionContext, kind: ContextKind): PlatformRequest | undefined {
  const args = execution.getArgs<[PlatformRequest, unknown, { req?: PlatformRequest } | undefined]>();
  if (kind === 'http') return args[0];
  return kind === 'graphql' ? args[2]?.req : undefined;
}
