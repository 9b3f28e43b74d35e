import { contextStorage } from '../../context/context-storage';
import { isTraced } from '../../w3c/open-telemetry';
import { listen } from '../../context/channels';
import { headerIn, originInPath } from '../../drivers/http/http-call';
import { repairUndici } from '../../drivers/http/undici-context';
import type { UndiciAnswer, UndiciRequest } from '../../drivers/http/undici-request';
import { addAnswer, noteAsked } from './asked';

/** Adds to what `fetch` and every copy of `undici` send. Each redirect and each retry is a request of its own. */
export function propagateUndici(warn: (message: string) => void): (() => void)[] {
  return [
    ...repairUndici('propagation', warn),
    ...listen('propagation', 'undici:request:create', onCreate),
    ...listen('propagation', 'undici:request:headers', onHeaders),
  ];
}

function onCreate({ request }: { readonly request: UndiciRequest }): void {
  // It opens the tunnel of a ProxyAgent: the request to the host comes after it.
  if (request.method === 'CONNECT') return;
  const context = contextStorage.getStore();
  const outgoing = context?.application.outgoing;
  if (context === undefined || outgoing === undefined || !outgoing.allows(String(request.origin))) return;
  // A proxy that is asked with the whole address reads the headers, and so does the host behind it.
  const behind = originInPath(request.path);
  if (behind !== undefined && !outgoing.allows(behind)) return;
  noteAsked(request, context, behind ?? String(request.origin));
  const headers = outgoing.headersOf(context, name => isSet(request, name));
  for (const [name, value] of headers) addHeader(request, name, value);
  if (isTraced()) giveWay(request, new Set(headers.map(([name]) => name)));
}

function onHeaders({ request, response }: { request: UndiciRequest; response: UndiciAnswer }): void {
  addAnswer(request, response.statusCode, response.headers);
}

function isSet({ headers }: UndiciRequest, name: string): boolean {
  if (typeof headers === 'string') return `\r\n${headers}`.toLowerCase().includes(`\r\n${name}:`);
  return headerIn(headers, name) !== undefined;
}

function addHeader(request: UndiciRequest, name: string, value: string): void {
  if (request.addHeader !== undefined) request.addHeader(name, value);
  else if (typeof request.headers === 'string') request.headers += `${name}: ${value}\r\n`;
  else request.headers.push(name, value);
}

/** OpenTelemetry's instrumentation may hear of the request after this: what it adds takes the place of ours. */
function giveWay(request: UndiciRequest, ours: ReadonlySet<string>): void {
  const { addHeader: add } = request;
  if (add === undefined) return;
  request.addHeader = (name, value) => {
    if (ours.has(name.toLowerCase()) && Array.isArray(request.headers)) remove(request.headers, name);
    return add.call(request, name, value);
  };
}

function remove(headers: unknown[], name: string): void {
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (String(headers[at]).toLowerCase() === name.toLowerCase()) headers.splice(at, 2);
  }
}
