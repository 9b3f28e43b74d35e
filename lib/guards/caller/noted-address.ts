import { isIP } from 'node:net';
import type { RequestContext } from '../../context/request-context';
import { type PlatformRequest, rawOf } from '../../context/remembered-context';

/** A property of the context, not a WeakMap: only requests under a limit of cost have it. */
const ADDRESS = Symbol('address of the caller');

interface Noted {
  [ADDRESS]?: string | undefined;
}

/**
 * Notes where a request comes from, before its guards: a socket has no address any more once the client has left,
 * and an earlier guard may take its time. Never throws.
 */
export function noteAddress(context: RequestContext): void {
  const { request } = context;
  if (request === undefined) return;
  try {
    const { ip } = request as { ip?: unknown };
    const isAddress = typeof ip === 'string' && isIP(ip) !== 0;
    (context as Noted)[ADDRESS] = isAddress ? ip : rawOf(request as PlatformRequest).socket.remoteAddress;
  } catch {
    // A getter of the application.
  }
}

/** What was noted. */
export function notedAddress(context: RequestContext): string | undefined {
  return (context as Noted)[ADDRESS];
}
