import type { DriverInstrumentation, QueryReporter } from '../driver-instrumentation';
import { loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';
import { traceCalls } from '../traced-calls';
import { countRequests } from './tedious-request';

const NAME = 'mssql';

type Validate = (this: object, connection: unknown) => unknown;

/**
 * Counts the queries of `mssql`, and of `tedious` below it, and so of TypeORM and Knex on them.
 *
 * `mssql` publishes its calls, but not the values that tell duplicates from other repeats, and `tedious`
 * publishes none: so they are counted where `tedious` sends them. The channel of the pool of `mssql` tells
 * how long a connection was waited for.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [mssqlInstrumentation()] });
 */
export function mssqlInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = [
        ...loadedCopies('tedious', 'lib/connection.js').flatMap(copy => coverConnection(copy, reporter)),
        ...loadedCopies(NAME, 'lib/tedious/connection-pool.js').flatMap(copy => coverPool(copy, reporter)),
        ...traceCalls(NAME, 'mssql:pool:acquire', beginAcquire(reporter)),
      ];
      return undo.length === 0 ? undefined : () => undo.forEach(takeBack => takeBack());
    },
  };
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
  const { prototype } = copy as { prototype: object };
  return replaceMethod<Validate>(prototype, '_poolValidate', original => {
    return function poolValidate(connection) {
      return reporter.uncharged(() => original.call(this, connection));
    };
  });
}

function beginAcquire(reporter: QueryReporter) {
  return function beginWait() {
    const wait = reporter.beginWait();
    return (failed: boolean): void => {
      wait?.end();
      // The query that waited is not sent: it is known by its error alone.
      if (failed) reporter.begin(undefined, 'mssql', beginWait)?.end(0, true);
    };
  };
}
