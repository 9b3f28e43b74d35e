import { OperationEnd } from './operation-end';
import { isObject, type Operations } from './operations';

/** What Apollo tells its plugins of an operation. */
interface OperationOfApollo {
  readonly contextValue: unknown;
  readonly requestIsBatched?: boolean;
  readonly errors?: readonly unknown[];
}

interface OperationListener {
  didEncounterErrors(operation: OperationOfApollo): Promise<void>;
  willSendResponse(operation: OperationOfApollo): Promise<void>;
}

interface ApolloPlugin {
  requestDidStart(operation: OperationOfApollo): Promise<OperationListener>;
}

/**
 * Tells the operations of a batch apart, and notes what Apollo answers of errors: of the syntax, of the
 * validation, of values that do not fit their types.
 */
export function apolloPlugin(operations: Operations): ApolloPlugin {
  return {
    async requestDidStart({ contextValue, requestIsBatched }) {
      const request = operations.requestOf((contextValue as { req?: unknown } | undefined)?.req);
      const isAlone = request !== undefined && requestIsBatched !== true;
      const context = isAlone ? request : operations.open(request ?? operations.caller());
      if (isAlone) operations.mark(context);
      // Apollo copies it for each operation.
      if (isObject(contextValue) && !(isAlone && operations.current() === context)) {
        operations.keep(contextValue, context);
      }
      // It runs on where its client leaves.
      const end = new OperationEnd();
      context.handling ??= end;
      const close = (): void => {
        if (context.isClosed) return;
        context.aborted = request?.aborted === true;
        operations.close(context);
      };
      // At the latest when the request is over, whatever a plugin of the application does.
      if (!isAlone) (request?.closeCallbacks ?? setCallbacks(request))?.push(close);
      return {
        async didEncounterErrors({ errors }) {
          operations.noteErrors(context, errors);
        },
        async willSendResponse() {
          end.end();
          if (!isAlone) close();
        },
      };
    },
  };
}

function setCallbacks(request: { closeCallbacks: (() => unknown)[] | undefined } | undefined) {
  return request && (request.closeCallbacks = []);
}
