import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import { loadedCopies } from '../../kernel/loaded-copies';
import { prototypesOf } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { traceCalls } from '../../instrumentation/traced-calls';
import { type CommandInMaking, commandInMaking, endWith, replaceCommands } from './mysql2-commands';
import { watchPools } from './mysql2-pool';

const NAME = 'mysql2';
/** Where the methods are, and the classes below: the last one is that of a pool. */
const CONNECTIONS = ['lib/base/connection.js', 'lib/connection.js', 'lib/pool_connection.js'];

/** https://github.com/sidorares/node-mysql2: what its channels publish since 3.20. */
interface QueryMessage {
  /** With the values written into it, for `query()`; with `?`, for `execute()`. */
  readonly query: string;
  readonly values?: unknown;
}

/** What `mysql2Instrumentation()` of the package installs. */
export function mysql2Instrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = [
        ...traceCalls(NAME, 'mysql2:query', begin(reporter)),
        ...traceCalls(NAME, 'mysql2:execute', begin(reporter)),
        ...traceCalls(NAME, 'mysql2:pool:connect', beginConnect(reporter)),
        ...watchPools(NAME, reporter),
        ...replaceCommands(prototypesOf(...CONNECTIONS.flatMap(file => loadedCopies(NAME, file))), reporter),
      ];
      return takingBack(undo);
    },
  };
}

function begin(reporter: QueryReporter) {
  return function beginQuery({ query, values }: QueryMessage) {
    const call = commandInMaking();
    try {
      const parameters = parametersOf(values, call);
      const handle = reporter.begin(call?.text ?? query, 'mysql', beginQuery, parameters, call?.connection);
      if (handle === undefined) return undefined;
      if (call !== undefined) call.handle = handle;
      return (failed: boolean, result: unknown) => {
        if (failed) handle.end(0, true);
        else if (result === undefined) handle.end(call?.events?.end() ?? 0);
        else endWith(handle, result, call?.command);
      };
    } catch (error) {
      // What listens to a channel cannot keep a query back.
      if (call !== undefined) call.refusal = error;
      return undefined;
    }
  };
}

/** What stands for the places of the text: by name, or in a list, which one value alone need not be written as. */
function parametersOf(values: unknown, call: CommandInMaking | undefined): unknown {
  if (values === undefined || values === null) return values;
  // Where it has made a list of them, it is one of its own.
  if (call?.named !== undefined && call.named !== values) return call.named;
  return Array.isArray(values) ? values : [values];
}

/** `pool.query()` asks for a connection first: where there is none, it is known by its error alone. */
function beginConnect(reporter: QueryReporter) {
  return function connect() {
    return (failed: boolean): void => {
      if (failed) reporter.begin(undefined, 'mysql', connect)?.end(0, true);
    };
  };
}
