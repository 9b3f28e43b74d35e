import type { HttpAdapterHost } from '@nestjs/core';
import { clearInterval, setInterval } from '../kernel/real-timers';

/** Milliseconds between two looks at the connections. */
const EVERY_MS = 50;

/** How many looks without an answer in between there are before connections are closed. */
const RESTING_LOOKS = 5;

/** How many looks this is put off where there is always an answer. */
const MOST_LOOKS = 20;

interface Server {
  readonly listening?: boolean;
  closeIdleConnections?(): void;
}

/**
 * Closes the connections of a server that no longer listens some time after their last request has ended.
 *
 * `server.close()` closes those that are idle at that moment. One that is busy then is kept for the
 * next request, and the server with it: for 5 s in Node, and for 72 s in Fastify.
 *
 * Not at once: a client with a queue sends its next request as soon as it has the answer to the last one, and
 * is to be told by the application, not by a connection that is reset.
 *
 * @param answered how many requests have ended so far
 * @returns what stops it
 */
export function closeIdleConnections({ httpAdapter }: HttpAdapterHost, answered: () => number): () => void {
  let before = answered();
  let quiet = 0;
  let putOff = 0;
  // Looks are counted, not milliseconds: a test may have faked the clock, and a blocked event loop is no rest.
  const look = (): void => {
    const server = httpAdapter?.getHttpServer() as Server | undefined;
    if (server?.listening !== false) return;
    const now = answered();
    quiet = now === before ? quiet + 1 : 0;
    before = now;
    if (quiet >= RESTING_LOOKS) putOff = 0;
    else if (putOff < MOST_LOOKS) {
      putOff += 1;
      return;
    }
    server.closeIdleConnections?.();
  };
  const timer = setInterval(look, EVERY_MS).unref();
  return () => clearInterval(timer);
}
