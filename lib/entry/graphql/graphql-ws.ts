import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import { noteError } from '../../units/settle';
import { OperationRoot } from './operation-root';
import { isObject, type Operations } from './operations';

type Hook = (...args: unknown[]) => unknown;

/** A connection, as graphql-ws hands it to hooks. */
interface Connection {
  readonly subscriptions: Readonly<Record<string, unknown>>;
}

/** What graphql-ws is about to execute. */
interface ExecutionArgs {
  rootValue?: unknown;
  contextValue?: unknown;
}

interface Result {
  readonly errors?: readonly unknown[];
}

/** Options of a server of graphql-ws: https://the-guild.dev/graphql/ws/docs */
export interface GraphqlWsOptions {
  readonly context?: unknown;
  readonly roots?: unknown;
  readonly onSubscribe?: Hook | undefined;
  readonly onOperation?: Hook | undefined;
  readonly onNext?: Hook | undefined;
  readonly onError?: Hook | undefined;
  readonly onClose?: Hook | undefined;
}

/** Of a connection rather than of an operation: each call is work of its own. */
const CONNECTION_HOOKS = ['onConnect', 'onDisconnect', 'onClose'] as const;

/**
 * The hooks of a graphql-ws server that give each of its operations a unit of work, from the first hook of
 * the application to the result. Those of the application run inside it.
 */
export function coverGraphqlWs(options: GraphqlWsOptions, operations: Operations): GraphqlWsOptions {
  // The root value says which operation a field belongs to.
  if (options.roots !== undefined) return options;
  const { context: given, onSubscribe, onOperation, onNext, onError } = options;
  /** By what a client has sent, which is told to each hook. */
  const opened = new WeakMap<object, RequestContext>();
  /** What may be left open where the text of an operation cannot be parsed. */
  const openedBy = new WeakMap<object, Set<RequestContext>>();

  const open = (connection: object, payload: object): RequestContext => {
    const context = operations.open(undefined);
    opened.set(payload, context);
    let all = openedBy.get(connection);
    if (all === undefined) openedBy.set(connection, (all = new Set()));
    all.add(context);
    return context;
  };
  const close = (connection: object, payload: object, errors?: unknown): void => {
    const context = opened.get(payload);
    if (context === undefined) return;
    operations.noteErrors(context, errors);
    opened.delete(payload);
    openedBy.get(connection)?.delete(context);
    operations.close(context);
  };
  const inside = async (connection: object, payload: object, work: () => unknown): Promise<unknown> => {
    const context = opened.get(payload) ?? open(connection, payload);
    try {
      return await contextStorage.run(context, async () => work());
    } catch (error) {
      noteError(context, error);
      close(connection, payload);
      throw error;
    }
  };
  /** Whose fields are to find its unit of work. */
  const enter = (connection: object, payload: object, execution: ExecutionArgs): void => {
    if (execution.rootValue !== undefined) return;
    const context = opened.get(payload) ?? open(connection, payload);
    execution.rootValue = new OperationRoot(context, undefined);
  };

  const hooks: GraphqlWsOptions = {
    context: async (connection: object, id: unknown, payload: object, execution: ExecutionArgs) => {
      const contextValue = await inside(connection, payload, () =>
        typeof given === 'function' ? (given as Hook)(connection, id, payload, execution) : given,
      );
      enter(connection, payload, execution);
      return contextValue;
    },
    onOperation: async (...args: unknown[]) => {
      const [connection, id, payload, , result] = args as [Connection, string, object, unknown, Result];
      const replaced = onOperation && (await inside(connection, payload, () => onOperation(...args)));
      const context = opened.get(payload);
      // The client may have left, or have lost interest.
      if (context !== undefined) context.aborted = !(id in connection.subscriptions);
      close(connection, payload, result.errors);
      return replaced;
    },
    onNext: async (...args: unknown[]) => {
      const [, , , execution, result] = args as [unknown, unknown, unknown, ExecutionArgs, Result];
      const { rootValue } = execution;
      const subscription = rootValue instanceof OperationRoot ? rootValue.subscription : undefined;
      const event = subscription?.event;
      if (subscription === undefined || event === undefined) return onNext?.(...args);
      operations.noteErrors(event, result.errors);
      try {
        return onNext && (await contextStorage.run(event, async () => onNext(...args)));
      } catch (error) {
        noteError(event, error);
        throw error;
      } finally {
        subscription.endEvent();
      }
    },
    onError: async (...args: unknown[]) => {
      const [connection, , payload, errors] = args as [object, unknown, object, readonly unknown[]];
      try {
        return onError && (await inside(connection, payload, () => onError(...args)));
      } finally {
        close(connection, payload, errors);
      }
    },
  };
  if (onSubscribe === undefined) return { ...options, ...connectionHooks(), ...hooks };
  return {
    ...options,
    ...connectionHooks(),
    ...hooks,
    onSubscribe: async (...args: unknown[]) => {
      const [connection, , payload] = args as [object, unknown, object];
      const prepared = await inside(connection, payload, () => onSubscribe(...args));
      // With a context, nobody asks for one.
      if (isObject(prepared) && 'contextValue' in prepared) enter(connection, payload, prepared);
      return prepared;
    },
  };

  function connectionHooks(): Record<string, Hook> {
    const covered: Record<string, Hook> = {};
    for (const name of CONNECTION_HOOKS) {
      const hook = (options as Record<string, unknown>)[name] as Hook | undefined;
      if (hook !== undefined) covered[name] = coverConnectionHook(operations, name, hook);
    }
    const { onClose } = covered;
    if (onSubscribe === undefined) return covered;
    covered['onClose'] = (...args) => {
      for (const context of openedBy.get(args[0] as object) ?? []) operations.close(context);
      return onClose?.(...args);
    };
    return covered;
  }
}

/** Runs a hook of a connection in a unit of work of its own, which has no handler. */
export function coverConnectionHook(operations: Operations, name: string, hook: Hook): Hook {
  return (...args) =>
    operations.units.runSeeded({ kind: 'graphql', handler: `graphql.${name}` }, () => hook(...args));
}
