import { isOfAgent } from '../../instrumentation/agent-calls';
import { listen } from '../../context/channels';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { CallHandle } from '../../cost/query-handle';
import { bodyLength, CALL, headerIn, hostInPath, hostOfOrigin, isServerError } from './http-call';
import type { UndiciAnswer, UndiciRequest } from './undici-request';

/** What is remembered of a request, by itself, until it ends. */
interface UndiciCall {
  handle: CallHandle | undefined;
  status: number | undefined;
  /** As they came: names and values in turn. */
  headers: readonly unknown[] | undefined;
  bytes: number;
}

interface Message {
  readonly request: UndiciRequest & { [CALL]?: UndiciCall };
}

type Headers = Message & { readonly response: UndiciAnswer };
type Chunk = Message & { readonly chunk: { readonly length: number } };

/**
 * Counts what `undici` and Node's `fetch` send.
 * https://github.com/nodejs/undici/blob/main/docs/docs/api/DiagnosticsChannel.md
 */
export function countUndici(reporter: QueryReporter): (() => void)[] {
  const onCreate = ({ request }: Message): void => {
    // It opens the tunnel of a ProxyAgent, as a TCP connection is opened: by whoever comes first.
    if (request.method === 'CONNECT') return;
    const call: UndiciCall = {
      handle: undefined,
      status: undefined,
      headers: undefined,
      bytes: 0,
    };
    request[CALL] = call;
    const host = hostOf(request);
    if (!isOfAgent(host, onCreate)) call.handle = reporter.beginCall('http', host, onCreate);
  };
  return [
    ...listen('http', 'undici:request:create', onCreate),
    ...listen('http', 'undici:request:headers', onHeaders),
    ...listen('http', 'undici:request:bodyChunkReceived', onChunk),
    ...listen('http', 'undici:request:trailers', onTrailers),
    ...listen('http', 'undici:request:error', onError),
  ];
}

function onHeaders({ request, response }: Headers): void {
  const call = request[CALL];
  if (call?.handle === undefined) return;
  call.status = response.statusCode;
  call.headers = response.headers;
  // What follows an upgrade is no response; undici 6 says nothing more of it.
  if (response.statusCode === 101) call.handle.end();
}

function onChunk({ request, chunk }: Chunk): void {
  const call = request[CALL];
  if (call !== undefined) call.bytes += chunk.length;
}

function onTrailers({ request }: Message): void {
  const call = request[CALL];
  if (call?.handle === undefined) return;
  // The fetch of Node 20 and 22 publishes no chunks.
  const bytes =
    call.bytes > 0
      ? call.bytes
      : bodyLength(headerIn(call.headers, 'content-length'), request.method, call.status);
  call.headers = undefined;
  call.handle.end(isServerError(call.status), bytes);
}

function onError({ request }: Message): void {
  const call = request[CALL];
  call?.handle?.end(true, call.bytes);
}

function hostOf({ origin, path }: UndiciRequest): string {
  return hostInPath(path) ?? hostOfOrigin(String(origin));
}
