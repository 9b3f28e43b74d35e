import { currentRedirect, runAgain } from '../../context/charge-redirect';
import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { QueryHandle } from '../../cost/query-handle';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { type CommandInput, describeCommand, rowsOfOutput } from './dynamodb-operation';

type Callback = (this: unknown, error: unknown, output?: unknown) => unknown;
type Send = (this: SmithyClient, command: Command, options?: unknown, callback?: unknown) => unknown;

interface SmithyClient {
  readonly config?: { readonly serviceId?: unknown };
}

interface Command {
  readonly input: CommandInput;
}

/** Where the class that all clients of the SDK extend lies: since 2026, and before. */
const FILES = [
  ['@smithy/core', 'dist-cjs/submodules/client/index.js'],
  ['@smithy/smithy-client', 'dist-cjs/index.js'],
] as const;

/** What `dynamodbInstrumentation()` of the package installs. */
export function dynamodbInstrumentation(): DriverInstrumentation {
  return {
    name: '@aws-sdk/client-dynamodb',
    install(reporter) {
      const undo = FILES.flatMap(([name, file]) =>
        loadedCopies(name, file).flatMap(copy => coverClient(copy, reporter)),
      );
      return takingBack(undo);
    },
  };
}

function coverClient(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { Client } = copy as { Client?: { prototype: object } };
  if (Client === undefined || !Object.hasOwn(Client.prototype, 'send')) {
    reporter.warn('this version of the AWS SDK has no Client.send(), so DynamoDB is not counted');
    return [];
  }
  return replaceMethod<Send>(Client.prototype, 'send', original => {
    return function send(command, options, callback) {
      const operation = this.config?.serviceId === 'DynamoDB' ? operationOf(command) : undefined;
      if (operation === undefined) return original.call(this, command, options, callback);
      const given = typeof options === 'function' ? options : callback;
      const { input } = command;
      let handle: QueryHandle | undefined;
      try {
        handle = begin(operation, input, reporter, send);
      } catch (error) {
        if (!given) return Promise.reject(error as Error);
        process.nextTick(given as Callback, error);
        return undefined;
      }
      const end = (failed: boolean, output?: unknown): void =>
        handle?.end(failed ? 0 : rowsOfOutput(operation, input, output), failed);
      try {
        if (given) {
          const own = bindToCaller(given as Callback, end);
          const rest = typeof options === 'function' ? [own] : [options, own];
          return reporter.uncharged(() => original.call(this, command, ...rest));
        }
        const result = reporter.uncharged(() => original.call(this, command, options)) as Promise<unknown>;
        return result.then(
          output => {
            end(false, output);
            return output;
          },
          (error: unknown) => {
            end(true);
            throw error;
          },
        );
      } catch (error) {
        end(true);
        throw error;
      }
    };
  });
}

/** The SDK calls back where it was called, which here is where nothing is charged. */
function bindToCaller(callback: Callback, end: (failed: boolean, output?: unknown) => void): Callback {
  const redirect = currentRedirect();
  return function (...args) {
    const [error, output] = args;
    end(Boolean(error), output);
    return runAgain(redirect, () => callback.apply(this, args));
  };
}

/** `QueryCommand` is `Query`; the bare client's own error for what is no command. */
function operationOf(command: Command | undefined): string | undefined {
  if (typeof command?.input !== 'object' || command.input === null) return undefined;
  const { name } = command.constructor;
  if (typeof name !== 'string') return undefined;
  return name.endsWith('Command') ? name.slice(0, -'Command'.length) : name;
}

function begin(
  operation: string,
  input: CommandInput,
  reporter: QueryReporter,
  stackBoundary: Send,
): QueryHandle | undefined {
  // PartiQL has literals, as SQL does.
  const text = input.Statement;
  if (operation === 'ExecuteStatement' && typeof text === 'string') {
    return reporter.begin(text, 'generic', stackBoundary, input);
  }
  const statement = describeCommand(operation, input);
  if (statement.kind !== 'read') return reporter.beginOperation(statement, stackBoundary);
  return reporter.beginOperation(statement, stackBoundary, input);
}
