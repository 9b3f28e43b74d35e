import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

type End = () => void;

/** By socket, what its end means to requests that were sent ahead: their turn has not come. */
const sentAhead = new WeakMap<Socket, Set<End>>();

/**
 * Calls back once, when a response is over, and says whether it was cut off: the client left before it
 * had all, or nobody ended it.
 *
 * 'close' of the response comes last and for each outcome. It alone does not do:
 * - adapters of serverless platforms make responses without a server. `@codegenie/serverless-express`
 *   fires only 'finish', `serverless-http` fires 'close' before it.
 * - on Node 20 and 22 a socket that is cut closes the response whose turn it is, and none of those behind it.
 */
export function whenOver(
  request: IncomingMessage,
  response: ServerResponse,
  over: (isCut: boolean) => void,
): void {
  let isFinished = false;
  let isOver = false;
  const end = (isCut: boolean): void => {
    if (isOver) return;
    isOver = true;
    over(isCut);
  };
  // The event, not `writableFinished`: that is false for HTTP/2 and for `fastify.inject()`. And HTTP/2
  // fires it for a stream that was cut as well, where nobody has called `end()`.
  response.on('finish', () => {
    isFinished = response.writableEnded;
    // A server takes its socket from a response, and its stream in HTTP/2, before this event, and closes it
    // after. What still has a socket has no server, and may have nobody who closes it.
    if (response.socket) process.nextTick(end, false);
  });
  // Before those of others: OpenTelemetry ends the span of the request in this event, and a span that
  // has ended takes no attributes.
  response.prependListener('close', () => {
    // Node and `fastify.inject()` destroy a response before they close it, `serverless-http` does not.
    end(!isFinished && !(response.writableEnded && response.destroyed === false));
  });
  if (response.socket === null) endWithSocket(request.socket, response, () => end(true));
}

function endWithSocket(socket: Socket, response: ServerResponse, end: End): void {
  const ends = sentAhead.get(socket) ?? watch(socket);
  ends.add(end);
  response.once('close', () => ends.delete(end));
}

/** One listener for all that a client sends ahead: Node warns of more than ten. */
function watch(socket: Socket): Set<End> {
  const ends = new Set<End>();
  sentAhead.set(socket, ends);
  socket.once('close', () => {
    for (const end of ends) end();
  });
  return ends;
}
