import { contextStorage } from '../../context/context-storage';
import type { ContextUser, RequestContext } from '../../context/request-context';
import { isThenable } from '../../kernel/thenable';
import { noteError } from '../../units/settle';
import { follow } from '../../units/task-run';
import { OperationRoot } from './operation-root';
import type { Operations, RootField } from './operations';

/**
 * What one operation has subscribed to. Each event that reaches it has a unit of work of its own, below the
 * operation, with what that had as user and values; it ends when the event has been resolved, or at the
 * latest when the next one is asked for.
 */
export class Subscription {
  /** By the arguments of the field, which are made for each operation: filters are told them. */
  static readonly byArguments = new WeakMap<object, Subscription>();

  readonly #operations: Operations;
  readonly #field: RootField;
  readonly #operation: RequestContext;
  /** Whether nobody else closes the operation: graphql-ws has a hook for it. */
  readonly #isOwn: boolean;
  /** Whether the application has been asked for a stream by now. */
  #isAsked = false;
  #user: ContextUser | undefined = undefined;
  #values: RequestContext['values'] = undefined;
  /** The event that a filter has let pass. */
  #passed: RequestContext | undefined = undefined;
  /** The event that is resolved. */
  event: RequestContext | undefined = undefined;

  constructor(operations: Operations, field: RootField, operation: RequestContext, isOwn: boolean) {
    this.#operations = operations;
    this.#field = field;
    this.#operation = operation;
    this.#isOwn = isOwn;
  }

  /**
   * Asks for the stream inside the operation.
   *
   * @param isLazy whether the resolver is called when the first event is asked for: a filter of Mercurius
   */
  async open(subscribe: () => unknown, isLazy: boolean): Promise<unknown> {
    try {
      // Awaited inside, as it may be a query that begins with `then()`.
      const stream = await contextStorage.run(this.#operation, async () => subscribe());
      return this.#of(stream);
    } catch (error) {
      noteError(this.#operation, error);
      throw error;
    } finally {
      if (!isLazy) this.#begins();
    }
  }

  /** Calls the resolver behind a filter inside the operation. */
  async ask(subscribe: () => unknown): Promise<unknown> {
    this.#isAsked = true;
    try {
      return await contextStorage.run(this.#operation, async () => subscribe());
    } catch (error) {
      noteError(this.#operation, error);
      throw error;
    } finally {
      this.#begins();
    }
  }

  /** The operation has done its work: what its events need of it is kept. */
  #begins(): void {
    this.#isAsked = true;
    if (this.#operation.isClosed) return;
    try {
      this.#user = this.#operation.currentUser();
    } catch {
      // A getter of the application.
    }
    this.#values = this.#operation.values;
    if (this.#isOwn) this.#operations.close(this.#operation);
  }

  /** The same stream, whose payloads carry the units of work of their events. */
  #of(stream: unknown): unknown {
    if (!isAsyncIterable(stream)) return stream;
    const iterator = stream[Symbol.asyncIterator]();
    const events: AsyncIterableIterator<OperationRoot> = {
      next: async () => {
        this.endEvent();
        // Waiting for an event is nobody's work: not that of whoever has connected, either.
        const result = await outside(() => iterator.next());
        return result.done === true ? result : { done: false, value: this.#begin(result.value) };
      },
      return: async () => {
        this.endEvent();
        if (!this.#isAsked) this.#begins();
        const end = outside(() => iterator.return?.());
        return ((await end) ?? { done: true, value: undefined }) as IteratorReturnResult<unknown>;
      },
      throw: async (error: unknown) => {
        this.endEvent();
        if (iterator.throw === undefined) throw error;
        const failure = outside(() => iterator.throw?.(error));
        return ((await failure) ?? { done: true, value: undefined }) as IteratorReturnResult<unknown>;
      },
      [Symbol.asyncIterator]: () => events,
    };
    return events;
  }

  /** Runs a filter in the unit of work of the event that it may let pass. */
  filter<T>(filter: () => T): T {
    this.#dropPassed();
    const context = this.#prepare();
    context.time.runs();
    let result: T;
    try {
      result = contextStorage.run(context, filter);
    } catch (error) {
      this.#reject(context, error);
      throw error;
    }
    if (!isThenable(result)) {
      this.#judge(context, result);
      return result;
    }
    return contextStorage.run(context, () =>
      Promise.resolve(result).then(
        passes => {
          this.#judge(context, passes);
          return passes;
        },
        (error: unknown) => {
          this.#reject(context, error);
          throw error;
        },
      ),
    ) as T;
  }

  /** Closes the event that is resolved. */
  endEvent(): void {
    if (this.event === undefined) return;
    const { event } = this;
    this.event = undefined;
    this.#operations.close(event);
  }

  #begin(payload: unknown): OperationRoot {
    const context = this.#passed ?? this.#prepare();
    this.#passed = undefined;
    this.#operations.units.announce(context);
    this.event = context;
    return new OperationRoot(context, payload);
  }

  #prepare(): RequestContext {
    const { units } = this.#operations;
    const context = units.prepare('graphql');
    follow(context, this.#operation);
    context.user = this.#user;
    if (this.#values !== undefined) context.values = new Map(this.#values);
    this.#operations.name(context, this.#field);
    return context;
  }

  #judge(context: RequestContext, passes: unknown): void {
    if (passes) this.#passed = context;
    else this.#reject(context);
  }

  #dropPassed(): void {
    if (this.#passed !== undefined) this.#reject(this.#passed);
    this.#passed = undefined;
  }

  /** A filter says no to most events: one that cost nothing leaves no record. */
  #reject(context: RequestContext, error?: unknown): void {
    const { units } = this.#operations;
    if (error !== undefined) noteError(context, error);
    if (error === undefined && units.isUntouched(context)) {
      units.drop(context);
      return;
    }
    units.announce(context);
    units.close(context);
  }
}

function outside<T>(fn: () => T): T {
  return contextStorage.run(undefined as never, fn);
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function';
}

type Subscribe = (...args: unknown[]) => unknown;
type Filter = (this: unknown, ...args: unknown[]) => unknown;

const lazySubscribes = new WeakSet<object>();

/** Whether a function gives a stream that asks the application for its own when it is read. */
export function isLazySubscribe(subscribe: object): boolean {
  return lazySubscribes.has(subscribe);
}

/** What a driver puts a filter before resolvers with, so that both run in the units of work that they belong to. */
export function coverFilter(
  withFilter: (filter: Filter, subscribe: () => Subscribe) => unknown,
  filter: Filter,
  createSubscribe: () => Subscribe,
  isLazy: boolean,
): unknown {
  const covered = withFilter(
    function (...args) {
      const subscription = subscriptionOf(args[1]);
      const passes = (): unknown => filter.apply(this, args);
      return subscription === undefined ? passes() : subscription.filter(passes);
    },
    () => {
      const subscribe = createSubscribe();
      return (...args) => {
        const subscription = subscriptionOf(args[1]);
        return subscription === undefined ? subscribe(...args) : subscription.ask(() => subscribe(...args));
      };
    },
  );
  if (isLazy && typeof covered === 'function') lazySubscribes.add(covered);
  return covered;
}

function subscriptionOf(args: unknown): Subscription | undefined {
  return typeof args === 'object' && args !== null ? Subscription.byArguments.get(args) : undefined;
}
