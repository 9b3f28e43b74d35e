import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import { loadedCopies } from '../../kernel/loaded-copies';
import { prototypesOf, replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { countCalls, followCalls } from './mssql-calls';
import { countRequests } from './tedious-request';

const NAME = 'mssql';

type Validate = (this: object, connection: unknown) => unknown;

/** What `mssqlInstrumentation()` of the package installs. */
export function mssqlInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const connections = loadedCopies('tedious', 'lib/connection.js');
      if (connections.length === 0) return undefined;
      const undo = [
        ...connections.flatMap(copy => coverConnection(copy, reporter)),
        ...prototypesOf(...loadedCopies(NAME, 'lib/tedious/request.js')).flatMap(one =>
          countCalls(one, reporter),
        ),
        ...followCalls(prototypesIn('connection-pool.js'), reporter, true),
        ...followCalls(prototypesIn('transaction.js'), reporter, false),
        ...followCalls(prototypesIn('prepared-statement.js'), reporter, false),
        ...loadedCopies('tarn', 'dist/Pool.js').flatMap(copy => coverPool(copy, reporter)),
      ];
      return takingBack(undo);
    },
  };
}

/** Of the class of a file, and of the one below that speaks `tedious`. */
function prototypesIn(file: string): object[] {
  return prototypesOf(...['base', 'tedious'].flatMap(folder => loadedCopies(NAME, `lib/${folder}/${file}`)));
}

function coverConnection(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { default: connection = copy } = copy as { default?: unknown };
  const { prototype } = connection as { prototype?: object };
  if (prototype !== undefined && 'makeRequest' in prototype) return countRequests(prototype, reporter);
  reporter.warn('this version of tedious has no Connection#makeRequest, so its queries are not counted');
  return [];
}

/** Asks each connection whether it is well before it is given away: that is no query of the application's. */
function coverPool(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = (copy as { Pool: { prototype: object } }).Pool;
  return replaceMethod<Validate>(prototype, '_validateResource', original => {
    return function validateResource(connection) {
      return reporter.uncharged(() => original.call(this, connection));
    };
  });
}
