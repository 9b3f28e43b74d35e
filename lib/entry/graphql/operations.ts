import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { Handler } from '../../handlers/handlers';
import { type PlatformRequest, rememberedContext } from '../../context/remembered-context';
import { noteError } from '../../units/settle';
import { follow } from '../../units/task-run';
import type { UnitsOfWork } from '../../units/units-of-work';
import { OperationRoot } from './operation-root';

/** A field of `Query`, `Mutation` or `Subscription`. */
export interface RootField {
  /** `Query.orders` */
  readonly route: string;
  /** Absent where no resolver of Nest takes it. */
  readonly handler: Handler | undefined;
}

/** Opens, names and closes the units of work of GraphQL operations. */
export class Operations {
  readonly units: UnitsOfWork;
  readonly close: (context: RequestContext) => void;
  /** Of operations whose fields run elsewhere than in their unit of work, by the context of the operation. */
  readonly #byContext = new WeakMap<object, RequestContext>();
  /** Until there is one, nobody asks: a look-up costs 125 ns a field. */
  #isUsed = false;

  constructor(units: UnitsOfWork) {
    this.units = units;
    this.close = context => units.close(context);
  }

  /** Opens one; it has the work that has asked for it as parent, and sees its user and values. */
  open(parent: RequestContext | undefined): RequestContext {
    const context = this.units.open('graphql', undefined, parent?.method);
    if (parent === undefined) return context;
    follow(context, parent);
    context.user = parent.user;
    context.carriedUser = parent.carriedUser;
    context.request = parent.request;
    if (parent.values !== undefined) context.values = new Map(parent.values);
    return context;
  }

  /** The open work of this application that asks for an operation. */
  caller(): RequestContext | undefined {
    const store = contextStorage.getStore();
    return store?.isOf(this.units) === true && !store.isClosed ? store : undefined;
  }

  /** The HTTP request that an operation came with, also where a middleware has lost it. */
  requestOf(request: unknown): RequestContext | undefined {
    const remembered = isObject(request) ? remembers(request) : undefined;
    const context = remembered !== undefined && this.#covers(remembered) ? remembered : this.caller();
    return context !== undefined && this.#covers(context) ? context : undefined;
  }

  /** Runs the fields of an operation in a unit of work; its context is an object of its own. */
  keep(contextValue: object, context: RequestContext): void {
    this.#isUsed = true;
    this.#byContext.set(contextValue, context);
  }

  /** The unit of work of a field, where that is not sure to be the one that runs. */
  elsewhere(contextValue: unknown, rootValue: unknown): RequestContext | undefined {
    // Over HTTP there is none, which is quicker to tell than the class of one.
    if (rootValue !== undefined && rootValue instanceof OperationRoot) return rootValue.context;
    return this.#isUsed && isObject(contextValue) ? this.#byContext.get(contextValue) : undefined;
  }

  /** The unit of work that a root field runs in already. */
  current(): RequestContext | undefined {
    const caller = this.caller();
    return caller !== undefined && this.#covers(caller) ? caller : undefined;
  }

  /** Says that a request is a GraphQL operation, also one that is refused before it has a name. */
  mark(context: RequestContext): void {
    if (context.handler === undefined) context.kind = 'graphql';
  }

  /** An operation is called by its first root field; further ones bring their budgets along. */
  name(context: RequestContext, { route, handler }: RootField): void {
    if (context.route === undefined && context.handler === undefined) {
      context.kind = 'graphql';
      context.route = route;
      if (handler !== undefined) this.units.setHandler(context, handler);
    } else if (handler !== undefined && context.handler !== handler) {
      this.units.addHandler(context, handler);
    }
  }

  /** Notes the first of the errors that an operation is answered with. */
  noteErrors(context: RequestContext, errors: unknown): void {
    if (!Array.isArray(errors) || errors.length === 0) return;
    const [error] = errors as unknown[];
    noteError(context, (error as { originalError?: unknown } | null | undefined)?.originalError ?? error);
  }

  #covers(context: RequestContext): boolean {
    if (!context.isOf(this.units) || context.isClosed) return false;
    return context.kind === 'http' || context.kind === 'graphql';
  }
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function remembers(request: object): RequestContext | undefined {
  try {
    return rememberedContext(request as PlatformRequest);
  } catch {
    // What the application calls `req` is its own matter.
    return undefined;
  }
}
