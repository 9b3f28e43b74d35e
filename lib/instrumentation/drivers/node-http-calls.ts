import { Agent, type ClientRequest, type IncomingMessage } from 'node:http';
import { listen } from '../channels';
import type { QueryReporter } from '../driver-instrumentation';
import { replaceMethod } from '../method-replacement';
import { bodyLength, CALL, type Carrier, headerIn, hostInPath, isServerError } from './http-call';

/** Node's own request, with what its types leave out. */
type HttpRequest = ClientRequest &
  Carrier & { readonly res?: IncomingMessage | null; readonly upgradeOrConnect?: boolean };

type AddRequest = (this: Agent, request: HttpRequest, ...rest: unknown[]) => unknown;

/** `http.client.request.created` came with Node 22. */
const HAS_CREATED = Number.parseInt(process.versions.node, 10) >= 22;

/**
 * Counts what `node:http` and `node:https` send.
 *
 * A request is counted where the application makes it, before it waits for a connection of its agent.
 * `http.client.request.start` is published when its body has ended, by whoever ends it; on Node 20 it
 * stands in for the agents that do not inherit from Node's, and for requests without one.
 */
export function countNodeHttp(reporter: QueryReporter): (() => void)[] {
  const onRequest = ({ request }: { request: HttpRequest }): void => {
    // CONNECT opens a tunnel: that is a connection, and not a call.
    if (CALL in request || request.method === 'CONNECT') return;
    request[CALL] = undefined;
    const handle = reporter.beginCall('http', hostOf(request), onRequest);
    if (handle === undefined) return;
    request[CALL] = handle;
    // The one event that comes once, whatever happens; a channel for the end of a response there is not.
    request.on('close', onClose);
  };
  if (HAS_CREATED) return listen('http', 'http.client.request.created', onRequest);
  return [
    ...listen('http', 'http.client.request.start', onRequest),
    ...replaceMethod<AddRequest>(Agent.prototype, 'addRequest', original => {
      return function addRequest(request, ...rest) {
        try {
          onRequest({ request });
        } catch {
          // As on a channel: the request goes on, also over its budget.
        }
        return original.call(this, request, ...rest);
      };
    }),
  ];
}

function onClose(this: HttpRequest): void {
  const { res } = this;
  const isComplete = Boolean(res) && (res?.complete === true || this.upgradeOrConnect === true);
  const length = isComplete ? headerIn(res?.rawHeaders, 'content-length') : undefined;
  this[CALL]?.end(
    !isComplete || isServerError(res?.statusCode),
    bodyLength(length, this.method, res?.statusCode),
  );
}

/** The port stands in the header alone; what the application writes there may be another host. */
function hostOf(request: HttpRequest): string {
  const { host, path } = request;
  const proxied = hostInPath(path);
  if (proxied !== undefined) return proxied;
  const header = request.getHeader('host');
  return typeof header === 'string' && header.includes(host) ? header : host;
}
