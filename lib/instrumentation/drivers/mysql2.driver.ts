import type { DriverInstrumentation, QueryReporter } from '../driver-instrumentation';
import { loadedCopies } from '../loaded-copies';
import { prototypesOf } from '../method-replacement';
import { takingBack } from '../take-back';
import { traceCalls } from '../traced-calls';
import { rowsOf } from './affected-rows';
import { commandInMaking, replaceCommands } from './mysql2-commands';
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
      const handle = reporter.begin(call?.text ?? query, 'mysql', beginQuery, values, call?.connection);
      return (
        handle &&
        ((failed: boolean, result: unknown) =>
          handle.end(failed ? 0 : result === undefined ? (call?.rows ?? 0) : rowsOf(result), failed))
      );
    } catch (error) {
      // What listens to a channel cannot keep a query back.
      if (call !== undefined) call.refusal = error;
      return undefined;
    }
  };
}

/** `pool.query()` asks for a connection first: where there is none, it is known by its error alone. */
function beginConnect(reporter: QueryReporter) {
  return function connect() {
    return (failed: boolean): void => {
      if (failed) reporter.begin(undefined, 'mysql', connect)?.end(0, true);
    };
  };
}
