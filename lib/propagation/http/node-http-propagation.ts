import type { IncomingMessage } from 'node:http';
import { contextStorage } from '../../context/context-storage';
import type { OutgoingHeader } from '../../context/request-context';
import { listen } from '../../context/channels';
import { originInPath } from '../../drivers/http/http-call';
import {
  hostAndPortOf,
  hostNameOf,
  type HttpRequest,
  listenToNodeHttp,
} from '../../drivers/http/node-http-requests';
import { addAnswer, noteAsked } from './asked';

const NO_HOST = /[/\\?#@\s]/;
const END_OF_HEAD = '\r\n\r\n';

/** Adds to what `node:http` and `node:https` send, and so `axios`, `got` and all that is built on them. */
export function propagateNodeHttp(): (() => void)[] {
  return [
    ...listenToNodeHttp('propagation', onCreated),
    // Published, against its name, when the head of the response has come.
    ...listen('propagation', 'http.client.response.finish', onAnswer),
  ];
}

function onCreated({ request }: { readonly request: HttpRequest }): void {
  if (request.method === 'CONNECT') return;
  const context = contextStorage.getStore();
  const outgoing = context?.application.outgoing;
  if (context === undefined || outgoing === undefined) return;
  const origin = originOf(request);
  if (!outgoing.allows(origin)) return;
  // A proxy that is asked with the whole address reads the headers, and so does the host behind it.
  const behind = originInPath(request.path);
  if (behind !== undefined && !outgoing.allows(behind)) return;
  noteAsked(request, context, behind ?? origin);
  addHeaders(
    request,
    outgoing.headersOf(context, name => isSet(request, name)),
  );
}

function onAnswer({ request, response }: { request: HttpRequest; response: IncomingMessage }): void {
  addAnswer(request, response.statusCode, response.rawHeaders);
}

/** Where the port is not known, 0 is none that can be listed. */
function originOf(request: HttpRequest): string {
  // It is looked up as it is, and a URL would end it there.
  if (NO_HOST.test(request.host)) return '';
  return `${request.protocol}//${hostAndPortOf(request) ?? `${hostNameOf(request)}:0`}`;
}

function isSet(request: HttpRequest, name: string): boolean {
  if (request.hasHeader(name)) return true;
  return request._header?.toLowerCase().includes(`\r\n${name}:`) === true;
}

function addHeaders(request: HttpRequest, headers: readonly OutgoingHeader[]): void {
  const { _header: head } = request;
  if (typeof head !== 'string') {
    for (const [name, value] of headers) request.setHeader(name, value);
    return;
  }
  // Headers given as a list have it written down at once; it is sent later. With an `Expect` it is with
  // the socket already.
  if (!head.endsWith(END_OF_HEAD) || request._headerSent !== false) return;
  const lines = headers.map(([name, value]) => `\r\n${name}: ${value}`);
  request._header = head.slice(0, -END_OF_HEAD.length) + lines.join('') + END_OF_HEAD;
}
