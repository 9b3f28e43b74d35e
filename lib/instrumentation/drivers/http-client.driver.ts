import { findAgents } from '../agent-calls';
import type { DriverInstrumentation } from '../driver-instrumentation';
import { takingBack } from '../take-back';
import { countHttp2 } from './http2-calls';
import { countNodeHttp } from './node-http-calls';
import { countUndici } from './undici-calls';
import { repairUndici } from './undici-context';

/**
 * Counts outbound HTTP requests, in `record.http`, by host: `fetch`, `undici`, `node:http`, `node:https`
 * and so `axios`, `got` and all that is built on them, and `node:http2` from Node 22 on.
 *
 * Each redirect and each retry is a request of its own. A call lasts until its response has been read;
 * it has failed when there was none, when it broke off, and when its status is 500 or more.
 * What an agent, such as an exporter of OpenTelemetry, sends for itself is nobody's.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [httpInstrumentation()] });
 */
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
