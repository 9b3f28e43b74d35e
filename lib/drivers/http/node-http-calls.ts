import type { IncomingMessage } from 'node:http';
import { isOfAgent } from '../../instrumentation/agent-calls';
import { listen } from '../../context/channels';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import { bodyLength, CALL, type Carrier, headerIn, hostInPath, isServerError } from './http-call';
import {
  hostAndPortOf,
  hostNameOf,
  type HttpRequest,
  listenToNodeHttp,
  TELLS_LATE,
} from './node-http-requests';

type CountedRequest = HttpRequest & Carrier & { readonly res?: IncomingMessage | null };

/**
 * Counts what `node:http` and `node:https` send.
 *
 * A request is counted where the application makes it, before it waits for a connection of its agent.
 * `http.client.request.start` is published when its body has ended, by whoever ends it; on Node 20 it
 * stands in for the agents that do not inherit from Node's, and for requests without one.
 */
export function countNodeHttp(reporter: QueryReporter): (() => void)[] {
  const onRequest = ({ request }: { request: CountedRequest }): void => {
    // CONNECT opens a tunnel: that is a connection, and not a call.
    if (CALL in request || request.method === 'CONNECT') return;
    request[CALL] = undefined;
    const host = hostOf(request);
    if (isOfAgent(host, onRequest)) return;
    const handle = reporter.beginCall('http', host, onRequest);
    if (handle === undefined) return;
    request[CALL] = handle;
    // The one event that comes once, whatever happens; a channel for the end of a response there is not.
    request.on('close', onClose);
  };
  return [
    ...listenToNodeHttp('http', onRequest),
    ...(TELLS_LATE ? listen('http', 'http.client.request.start', onRequest) : []),
  ];
}

function onClose(this: CountedRequest): void {
  const { res } = this;
  const isComplete = Boolean(res) && (res?.complete === true || this.upgradeOrConnect === true);
  const length = isComplete ? headerIn(res?.rawHeaders, 'content-length') : undefined;
  this[CALL]?.end(
    !isComplete || isServerError(res?.statusCode),
    bodyLength(length, this.method, res?.statusCode),
  );
}

/** A proxy is asked for another host. */
function hostOf(request: HttpRequest): string {
  return hostInPath(request.path) ?? hostAndPortOf(request) ?? hostNameOf(request);
}
