import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { isOfAgent } from '../../instrumentation/agent-calls';
import { listen } from '../../context/channels';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import { bodyLength, CALL, type Carrier, isServerError } from './http-call';

const ANSWER = Symbol('nestjs-async-context.answer');
const OWNER = Symbol('nestjs-async-context.owner');
const HOST = Symbol('nestjs-async-context.host');

type Stream = ClientHttp2Stream & Carrier & { [ANSWER]?: IncomingHttpHeaders };
type Session = ClientHttp2Stream['session'] & {
  [OWNER]?: 'undici' | 'application';
  [HOST]?: string;
};

/** Counts what `node:http2` sends; Node 20 publishes nothing of it. */
export function countHttp2(reporter: QueryReporter): (() => void)[] {
  const onCreated = ({ stream, headers }: { stream: Stream; headers: OutgoingHttpHeaders }): void => {
    if (headers[':method'] === 'CONNECT' || isGrpc(headers) || isOfUndici(stream.session)) return;
    const host = hostOf(stream.session, headers);
    if (isOfAgent(host, onCreated)) return;
    const handle = reporter.beginCall('http', host, onCreated);
    if (handle === undefined) return;
    stream[CALL] = handle;
    // http2.client.stream.close comes before the error, and not for a stream that was never opened.
    stream.on('close', onClose);
  };
  return [
    ...listen('http', 'http2.client.stream.created', onCreated),
    ...listen('http', 'http2.client.stream.finish', onAnswer),
  ];
}

function onAnswer({ stream, headers }: { stream: Stream; headers: IncomingHttpHeaders }): void {
  if (stream[CALL] !== undefined) stream[ANSWER] = headers;
}

function onClose(this: Stream): void {
  const answer = this[ANSWER];
  const status = answer?.[':status'] as number | undefined;
  const isComplete = status !== undefined && !this.rstCode && !this.aborted && !this.errored;
  const method = String(this.sentHeaders[':method']);
  const length = isComplete ? answer?.['content-length'] : undefined;
  this[CALL]?.end(!isComplete || isServerError(status), bodyLength(length, method, status));
}

/** Not `:authority`: the application may write any other host there. */
function hostOf(session: Session | undefined, headers: OutgoingHttpHeaders): string {
  if (session === undefined) return 'unknown';
  session[HOST] ??= connectedHost(session, headers[':scheme'] === 'http' ? ':80' : ':443');
  return session[HOST];
}

/** Node keeps it under a symbol, with its port. */
function connectedHost(session: Session, defaultPort: string): string {
  const key = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'authority');
  const authority: unknown = key && Reflect.get(session, key);
  if (typeof authority !== 'string') return 'unknown';
  return authority.endsWith(defaultPort) ? authority.slice(0, -defaultPort.length) : authority;
}

/** A call of `@grpc/grpc-js` that waited for its connection is made in the context of another one. */
function isGrpc(headers: OutgoingHttpHeaders): boolean {
  return String(headers['content-type']).startsWith('application/grpc');
}

/** What `undici` sends over HTTP/2 has been counted; it keeps its client on the session. */
function isOfUndici(session: Session | undefined): boolean {
  if (session === undefined) return false;
  session[OWNER] ??= Object.getOwnPropertySymbols(session).some(key => key.description === 'client')
    ? 'undici'
    : 'application';
  return session[OWNER] === 'undici';
}
