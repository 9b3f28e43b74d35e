import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestContext } from '../context/request-context';
import { Connection } from './connection';
import { emitInside } from './emit-inside';

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
  context: RequestContext,
  request: IncomingMessage,
  response: ServerResponse,
  over: (isCut: boolean) => void,
): void {
  // A stream of HTTP/2 ends alone, and its connection later.
  const isStream = request.httpVersionMajor === 2;
  const connection = isStream ? undefined : Connection.of(request.socket);
  let isFinished = false;
  let isOver = false;
  const end = (isCut: boolean): void => {
    if (isOver) return;
    isOver = true;
    connection?.leave(context);
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
    if (isStream) markClosed(response);
    // Node and `fastify.inject()` destroy a response before they close it, `serverless-http` does not.
    end(!isFinished && !(response.writableEnded && response.destroyed === false));
  });
  if (isStream) {
    emitInside(request, context);
    emitInside(response, context);
  } else if (response.socket === null) {
    connection?.answersLater(context, () => end(true));
  } else {
    connection?.answers(context);
  }
}

/**
 * That of HTTP/2 does not say so itself, and `finished()` never calls back for one that is: Fastify asks it when a
 * handler has ended, so that of a stream that was cancelled seemed to be at work for ever.
 */
function markClosed(response: ServerResponse): void {
  if ('closed' in response && response.closed) return;
  Object.defineProperty(response, 'closed', { value: true, writable: true, configurable: true });
}
