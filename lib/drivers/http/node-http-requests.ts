import { channel } from 'node:diagnostics_channel';
import { Agent, type ClientRequest } from 'node:http';
import { listen } from '../../context/channels';
import { replaceMethod } from '../../kernel/method-replacement';
import { shareHook } from '../../instrumentation/shared-hooks';

/** Node's own request, with what its types leave out. */
export type HttpRequest = ClientRequest & {
  /** The head as text, once it has been written down. */
  _header?: string | null;
  /** Whether that text has been given to the socket. */
  readonly _headerSent?: boolean;
  readonly upgradeOrConnect?: boolean;
};

type AddRequest = (this: Agent, request: HttpRequest, ...rest: unknown[]) => unknown;

/** `http.client.request.created` came with Node 22. */
const HAS_CREATED = Number.parseInt(process.versions.node, 10) >= 22;
const OURS = 'nestjs-async-context:http.client.request.created';

/**
 * Hears of each request of `node:http` and `node:https` where the application makes it, before it waits for
 * a connection of its agent and before its head is sent; on Node 20 where it has an agent that inherits
 * from Node's.
 */
export function listenToNodeHttp(
  owner: string,
  listener: (message: { readonly request: HttpRequest }) => void,
): (() => void)[] {
  if (HAS_CREATED) return listen(owner, 'http.client.request.created', listener);
  return [...shareHook('node:http', owner, publishRequests), ...listen(owner, OURS, listener)];
}

function publishRequests(): (() => void)[] {
  const created = channel(OURS);
  return replaceMethod<AddRequest>(Agent.prototype, 'addRequest', original => {
    return function addRequest(request, ...rest) {
      if (created.hasSubscribers) created.publish({ request });
      return original.call(this, request, ...rest);
    };
  });
}

/** Whether Node tells of a request only once it is sent, unless its agent inherits from Node's. */
export const TELLS_LATE = !HAS_CREATED;

const PORT = /^:\d{1,5}$/;

/** The host that is connected to; an IPv6 address in brackets. */
export function hostNameOf({ host }: HttpRequest): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}

/**
 * The host that is connected to, with its port, which stands in the `Host` header alone. `undefined` where the
 * application has written another host there: it may be anything, such as what a client has sent.
 */
export function hostAndPortOf(request: HttpRequest): string | undefined {
  const name = hostNameOf(request);
  const header = request.getHeader('host');
  if (typeof header !== 'string' || !header.startsWith(name)) return undefined;
  return header.length === name.length || PORT.test(header.slice(name.length)) ? header : undefined;
}
