import { types } from 'node:util';
import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import { isThenable } from '../../kernel/thenable';
import { noteError } from '../../units/settle';
import { OperationRoot } from './operation-root';
import { isObject, type Operations, type RootField } from './operations';
import { isLazySubscribe, Subscription } from './subscription';

/** What GraphQL calls for a field, and for the type of a value. */
type Resolve = (source: unknown, args: unknown, contextValue: unknown, info: ResolveInfo) => unknown;
type ResolveType = (value: unknown, contextValue: unknown, info: ResolveInfo, type?: unknown) => unknown;

interface ResolveInfo {
  readonly fieldName: string;
  readonly rootValue: unknown;
}

interface Field {
  resolve?: Resolve | undefined;
  subscribe?: Resolve | undefined;
}

interface SchemaType {
  readonly name: string;
  readonly [Symbol.toStringTag]: string;
  getFields?(): Record<string, Field>;
  resolveType?: ResolveType | null | undefined;
}

/** The parts of a `GraphQLSchema` that are used here; graphql 16 and 17 have the same. */
export interface Schema {
  getTypeMap(): Record<string, SchemaType>;
  getQueryType(): SchemaType | null | undefined;
  getMutationType(): SchemaType | null | undefined;
  getSubscriptionType(): SchemaType | null | undefined;
}

/** What a covered function stands in front of: a schema may be that of several applications. */
const covered = new WeakMap<object, Resolve | undefined>();
const coveredRoots = new WeakSet<object>();

/** Whether the root fields of a type name their operations before guards. */
export function isCoveredRoot(type: object): boolean {
  return coveredRoots.has(type);
}

/** Which fields are covered, beside those of the root types. */
export interface CoveredFields {
  /** Those that have a method of a resolver: `Order.items`. */
  readonly resolved: ReadonlySet<string>;
  /**
   * Whether all of them are, because operations run elsewhere than in their unit of work: over WebSocket, in a
   * batch. A property costs 4 to 12 ns more then.
   */
  readonly all: boolean;
  /** Whether fields without a resolver have GraphQL's own. */
  readonly defaults: boolean;
}

/**
 * Runs what the resolvers of a schema do in the unit of work of their operation, and notes their errors.
 *
 * The schema is the one place that the executors of all drivers share: graphql-js for Apollo, graphql-ws and
 * the events of Mercurius, and what graphql-jit compiles. None of them has a hook that runs an execution
 * inside something; each calls the functions of the fields, the root ones in the order of the document.
 */
export class SchemaCover {
  readonly #operations: Operations;
  readonly #fieldOf: (type: string, name: string) => RootField;
  readonly #covers: CoveredFields;

  constructor(
    operations: Operations,
    fieldOf: (type: string, name: string) => RootField,
    covers: CoveredFields,
  ) {
    this.#operations = operations;
    this.#fieldOf = fieldOf;
    this.#covers = covers;
  }

  cover(schema: Schema): void {
    const subscription = schema.getSubscriptionType();
    const roots = new Set([schema.getQueryType(), schema.getMutationType()]);
    for (const type of Object.values(schema.getTypeMap())) {
      if (type.name.startsWith('__')) continue;
      if (typeof type.resolveType === 'function') type.resolveType = this.#resolveType(type.resolveType);
      if (type[Symbol.toStringTag] !== 'GraphQLObjectType') continue;
      for (const [name, field] of Object.entries(type.getFields?.() ?? {})) {
        if (type === subscription) this.#coverSubscription(field, this.#fieldOf(type.name, name));
        else if (roots.has(type)) this.#coverRoot(field, this.#fieldOf(type.name, name));
        else if (this.#covers.all || this.#covers.resolved.has(`${type.name}.${name}`))
          this.#coverField(field);
      }
      if (type === subscription || roots.has(type)) coveredRoots.add(type);
    }
  }

  #coverRoot(field: Field, root: RootField): void {
    const resolve = bare(field.resolve);
    if (resolve === undefined) return;
    const operations = this.#operations;
    field.resolve = standIn(resolve, (source, args, contextValue, info) => {
      const context = operations.elsewhere(contextValue, info.rootValue) ?? operations.current();
      if (context !== undefined) operations.name(context, root);
      return runField(context, resolve, source, args, contextValue, info);
    });
  }

  #coverField(field: Field): void {
    const given = bare(field.resolve);
    if (given !== undefined || this.#covers.defaults) field.resolve = this.#resolver(given);
  }

  #coverSubscription(field: Field, root: RootField): void {
    const operations = this.#operations;
    const subscribe = bare(field.subscribe);
    if (subscribe === undefined) return;
    field.subscribe = standIn(subscribe, (source, args, contextValue, info) => {
      const own = info.rootValue instanceof OperationRoot ? info.rootValue : undefined;
      const context = own?.context ?? operations.open(undefined);
      operations.name(context, root);
      const subscription = new Subscription(operations, root, context, own === undefined);
      if (isObject(args)) Subscription.byArguments.set(args, subscription);
      if (own !== undefined) own.subscription = subscription;
      const from = own === undefined ? source : own.value;
      return subscription.open(
        () => subscribe(from, args, contextValue, bareInfo(info)),
        isLazySubscribe(subscribe),
      );
    });
    field.resolve = this.#resolver(bare(field.resolve));
  }

  /** Stands in for a resolver, or for GraphQL's own, whose operation may be elsewhere. */
  #resolver(given: Resolve | undefined): Resolve {
    const resolve = given ?? resolveByDefault;
    const operations = this.#operations;
    return standIn(given, (source, args, contextValue, info) =>
      runField(operations.elsewhere(contextValue, info.rootValue), resolve, source, args, contextValue, info),
    );
  }

  #resolveType(given: ResolveType): ResolveType {
    const resolveType = (covered.get(given) ?? given) as ResolveType;
    const operations = this.#operations;
    const cover: ResolveType = (value, contextValue, info, type) => {
      const context = operations.elsewhere(contextValue, info.rootValue);
      return context === undefined || context === contextStorage.getStore()
        ? resolveType(value, contextValue, bareInfo(info), type)
        : contextStorage.run(context, resolveType, value, contextValue, bareInfo(info), type);
    };
    covered.set(cover, resolveType as Resolve);
    return cover;
  }
}

/** Runs a resolver in the unit of work that it belongs to, which may be the one that runs. */
function runField(
  context: RequestContext | undefined,
  resolve: Resolve,
  source: unknown,
  args: unknown,
  contextValue: unknown,
  info: ResolveInfo,
): unknown {
  if (context === undefined) return noting(resolve, source, args, contextValue, info);
  const from = source instanceof OperationRoot ? source.value : source;
  if (context === contextStorage.getStore()) {
    return noting(resolve, from, args, contextValue, bareInfo(info));
  }
  context.time.runs();
  return contextStorage.run(context, beginning, resolve, from, args, contextValue, bareInfo(info));
}

function noting(
  resolve: Resolve,
  source: unknown,
  args: unknown,
  contextValue: unknown,
  info: ResolveInfo,
): unknown {
  let result: unknown;
  try {
    result = resolve(source, args, contextValue, info);
  } catch (error) {
    noteCurrent(error);
    throw error;
  }
  if (typeof result === 'object' && types.isPromise(result)) result.then(undefined, noteCurrent);
  return result;
}

/** The same, elsewhere than where GraphQL waits for the result: a lazy query begins with `then()`. */
function beginning(
  resolve: Resolve,
  source: unknown,
  args: unknown,
  contextValue: unknown,
  info: ResolveInfo,
): unknown {
  const result = noting(resolve, source, args, contextValue, info);
  if (typeof result !== 'object' || types.isPromise(result) || !isThenable(result)) return result;
  const begun = Promise.resolve(result);
  begun.then(undefined, noteCurrent);
  return begun;
}

/** Of the unit of work that runs, which is the one that the resolver was called in. */
function noteCurrent(error: unknown): void {
  const context = contextStorage.getStore();
  if (context?.kind === 'graphql') noteError(context, error);
}

/** What the application is told of an execution: what it would be told without us. */
function bareInfo(info: ResolveInfo): ResolveInfo {
  const { rootValue } = info;
  return rootValue instanceof OperationRoot ? { ...info, rootValue: rootValue.value } : info;
}

/** What GraphQL does for a field that has no resolver. */
function resolveByDefault(source: unknown, args: unknown, contextValue: unknown, info: ResolveInfo): unknown {
  if ((typeof source !== 'object' && typeof source !== 'function') || source === null) return undefined;
  const from = source as Record<string, unknown>;
  const property = from[info.fieldName];
  if (typeof property !== 'function') return property;
  return (from as Record<string, (...rest: unknown[]) => unknown>)[info.fieldName]?.(
    args,
    contextValue,
    info,
  );
}

function bare(resolve: Resolve | null | undefined): Resolve | undefined {
  if (resolve === null || resolve === undefined) return undefined;
  return covered.has(resolve) ? covered.get(resolve) : resolve;
}

function standIn(resolve: Resolve | undefined, cover: Resolve): Resolve {
  covered.set(cover, resolve);
  return cover;
}
