import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HeaderServer {
  readonly port: number;
  /** `http://127.0.0.1:12345` */
  readonly url: string;
  /** The same server under another name. */
  readonly otherUrl: string;
  /** What has arrived, by `path`, in order. */
  readonly seen: readonly SeenRequest[];
  /** The one request to a path. */
  at(path: string): SeenRequest;
  close(): Promise<void>;
}

export interface SeenRequest {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** How often a header came. */
  times(name: string): number;
}

/** A server that remembers the headers of each request; it redirects to what `/to?<address>` says. */
export async function startHeaderServer(answer?: RequestListener): Promise<HeaderServer> {
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const { rawHeaders, headers } = request;
    const names = rawHeaders.filter((_, i) => i % 2 === 0).map(name => name.toLowerCase());
    seen.push({ path: request.url!, headers, times: name => names.filter(one => one === name).length });
    const redirect = /^\/to\?(.*)$/.exec(request.url!)?.[1];
    if (redirect !== undefined) response.writeHead(302, { location: redirect }).end();
    else if (request.url!.startsWith('/slow')) setTimeout(() => response.end('slow'), 20);
    else if (answer !== undefined) answer(request, response);
    else response.end('ok');
  });
  // A proxy that opens tunnels to itself.
  server.on('connect', (_request, socket) => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    server.emit('connection', socket);
  });
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    otherUrl: `http://localhost:${port}`,
    seen,
    at(path) {
      const found = seen.filter(request => request.path === path);
      if (found.length !== 1) throw new Error(`${found.length} requests to ${path}`);
      return found[0]!;
    },
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
