import type { RequestContext } from '../../context/request-context';

type Close = (context: RequestContext) => void;

/** What a handler of gRPC answers, as Nest's pattern says it. */
export interface GrpcMethod {
  /** `Echo/Talk` */
  readonly route: string;
  /** Whether its handler is given the call itself: `@GrpcStreamCall()`. */
  readonly hasCall: boolean;
}

/** A call as `@grpc/grpc-js` has it on the side of the server. */
interface ServerCall {
  readonly cancelled?: boolean;
  readonly writableEnded?: boolean;
  readonly writableFinished?: boolean;
  readonly call?: CallBelow;
  once(event: string, listener: () => void): unknown;
}

/** What a call goes through: one for each interceptor, and the last one with the stream of HTTP/2. */
interface CallBelow {
  readonly nextCall?: CallBelow;
  readonly stream?: Http2Stream;
}

interface Http2Stream {
  readonly closed: boolean;
  /** Not 0 where the client has taken the call back. */
  readonly rstCode: number;
  once(event: 'close', listener: () => void): unknown;
}

/** How Nest calls what a handler of gRPC streams. */
const STREAMING: readonly unknown[] = ['no_stream', 'rx_stream', 'pt_stream'];

/** The method of gRPC that a pattern stands for; `undefined` for one of another transport. */
export function grpcMethod(pattern: string): GrpcMethod | undefined {
  try {
    const { service, rpc, streaming } = JSON.parse(pattern) as Record<string, unknown>;
    if (typeof service !== 'string' || typeof rpc !== 'string' || !STREAMING.includes(streaming))
      return undefined;
    return { route: `${service}/${rpc}`, hasCall: streaming === 'pt_stream' };
  } catch {
    // A text, which is no JSON.
    return undefined;
  }
}

/**
 * Says when a call of gRPC is over: when its stream has closed, as with HTTP, which tells whether the client has
 * left. A client that leaves ends its messages first, so that a handler may be done before that is known; and a
 * handler that was given the call itself has most often only begun when it returns.
 *
 * @param args what the handler is called with; its callback is replaced
 */
export function closeWithCall(
  { hasCall }: GrpcMethod,
  args: unknown[],
  context: RequestContext,
  close: Close,
): Close {
  const call = args[hasCall ? 0 : 2] as ServerCall | undefined;
  const stream = streamOf(call);
  // Another implementation of gRPC.
  if (call === undefined || stream === undefined) return close;
  let isDone = false;
  const end = (): void => {
    const isAnswered = isDone || (hasCall && call.writableEnded === true);
    if (!context.isClosed) context.aborted = !isAnswered || stream.rstCode !== 0;
    close(context);
  };
  const done = (): void => {
    isDone = true;
    if (stream.closed) end();
  };
  stream.once('close', end);
  if (!hasCall) return done;
  call.once('close', () => {
    if (call.writableFinished === true) return;
    // The handler, or the client, has destroyed it: nobody closes its stream then.
    isDone ||= call.cancelled !== true;
    end();
  });
  const [, respond] = args;
  if (typeof respond === 'function') {
    args[1] = (...answer: unknown[]): unknown => {
      const result: unknown = respond(...answer);
      done();
      return result;
    };
  }
  return () => {
    if (context.error === undefined) return;
    isDone = true;
    end();
  };
}

function streamOf(call: ServerCall | undefined): Http2Stream | undefined {
  let stackBoundary = call?.call;
  while (stackBoundary?.nextCall !== undefined) stackBoundary = stackBoundary.nextCall;
  return typeof stackBoundary?.stream?.once === 'function' ? stackBoundary.stream : undefined;
}
