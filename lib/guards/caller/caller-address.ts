import type { ExecutionContext } from '@nestjs/common';
import type { RequestContext } from '../../context/request-context';
import { type PlatformRequest, rawOf } from '../../context/remembered-context';
import { networkOf } from './address';
import { notedAddress } from './noted-address';

interface SocketLike {
  readonly remoteAddress?: unknown;
  readonly destroyed?: unknown;
}

/** Of socket.io, and of ws. */
interface WsClient {
  readonly handshake?: { readonly address?: unknown };
  readonly _socket?: SocketLike | null;
}

/** Of `@nestjs/microservices` over TCP. */
interface TcpContext {
  getSocketRef?(): { readonly netSocket?: SocketLike } | undefined;
}

/** What the context of a GraphQL operation over WebSocket may hold. */
interface GqlContext {
  readonly req?: { readonly socket?: SocketLike; readonly extra?: GqlContext['extra'] };
  readonly extra?: { readonly request?: { readonly socket?: SocketLike } };
}

/** All whose address nobody knows share one. */
const UNKNOWN = 'unknown';

/**
 * Where a unit of work was asked for from: an address, or a network of IPv6; `undefined` where its client has left
 * and took that along. Never throws.
 */
export function callerAddress(
  execution: ExecutionContext,
  context: RequestContext,
  ipv6Prefix: number,
): string | undefined {
  try {
    for (const address of addressesOf(execution, context)) {
      const network = networkOf(address, ipv6Prefix);
      if (network !== undefined) return network;
    }
    if (context.isClosed || socketOf(execution)?.destroyed === true) return undefined;
  } catch {
    // A getter of the application.
  }
  return UNKNOWN;
}

/** Whether Express takes the first address of `x-forwarded-for`, which the client has written, for the caller's. */
export function trustsAnybody(request: object | undefined): boolean {
  try {
    const { app } = (request ?? {}) as { app?: { get?(setting: string): unknown } };
    return app?.get?.('trust proxy') === true;
  } catch {
    return false;
  }
}

function* addressesOf(execution: ExecutionContext, context: RequestContext): Generator<unknown> {
  const { request } = context;
  if (request !== undefined) {
    // What the platform makes of it, under its own setting of which proxies are trusted.
    yield (request as { ip?: unknown }).ip;
    yield rawOf(request as PlatformRequest).socket.remoteAddress;
    yield notedAddress(context);
    return;
  }
  yield notedAddress(context);
  if (execution.getType() === 'ws') {
    yield execution.switchToWs().getClient<WsClient>().handshake?.address;
  }
  yield socketOf(execution)?.remoteAddress;
}

/** Of what is no HTTP request, or one of GraphQL that came otherwise. */
function socketOf(execution: ExecutionContext): SocketLike | null | undefined {
  switch (execution.getType<string>()) {
    case 'ws':
      return execution.switchToWs().getClient<WsClient>()._socket;
    case 'rpc':
      return execution.switchToRpc().getContext<TcpContext>()?.getSocketRef?.()?.netSocket;
    case 'graphql': {
      const { req, extra } = execution.getArgByIndex<GqlContext | undefined>(2) ?? {};
      return req?.socket ?? req?.extra?.request?.socket ?? extra?.request?.socket;
    }
    default:
      return undefined;
  }
}
