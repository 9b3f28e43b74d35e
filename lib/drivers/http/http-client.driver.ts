import { findAgents } from '../../instrumentation/agent-calls';
import type { DriverInstrumentation } from '../../instrumentation/driver-instrumentation';
import { takingBack } from '../../kernel/take-back';
import { countHttp2 } from './http2-calls';
import { countNodeHttp } from './node-http-calls';
import { countUndici } from './undici-calls';
import { repairUndici } from './undici-context';

/** What `httpInstrumentation()` of the package installs. */
export function httpInstrumentation(): DriverInstrumentation {
  return {
    name: 'http',
    install(reporter) {
      findAgents();
      const undo = [
        ...countUndici(reporter),
        ...repairUndici('counting', message => reporter.warn(message)),
        ...countNodeHttp(reporter),
        ...countHttp2(reporter),
      ];
      return takingBack(undo);
    },
  };
}
