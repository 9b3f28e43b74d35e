import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';

export interface TestServer {
  readonly url: string;
  /** `127.0.0.1:12345`: how a record names it. */
  readonly host: string;
  readonly port: number;
  /** The paths that were asked for, without their query, in order. */
  readonly paths: string[];
  close(): Promise<void>;
}

/** What `/ok` answers: 20 bytes. */
export const OK = '{"answer":"as ever"}';
/** More than a socket and a stream buffer: it is not received to the end unless it is read. */
export const LARGE = 8 * 1_024 * 1_024;

const flaky = new Map<string, number>();

const routes: Record<string, RequestListener> = {
  '/ok': (_request, response) => {
    response.setHeader('content-length', OK.length);
    response.end(OK);
  },
  '/chunked': (_request, response) => {
    response.write(OK);
    response.end(OK);
  },
  '/empty': (_request, response) => {
    response.statusCode = 204;
    response.end();
  },
  '/not-modified': (_request, response) => {
    response.statusCode = 304;
    response.setHeader('content-length', 20);
    response.end();
  },
  '/missing': (_request, response) => {
    response.statusCode = 404;
    response.end(OK);
  },
  '/broken': (_request, response) => {
    response.statusCode = 503;
    response.end(OK);
  },
  '/echo': (request, response) => void request.pipe(response),
  '/redirect': (request, response) => {
    response.writeHead(302, { location: `/ok${new URL(request.url!, 'http://x').search}` });
    response.end();
  },
  // Fails the first time that an id is asked for.
  '/flaky': (request, response) => {
    const times = (flaky.get(request.url!) ?? 0) + 1;
    flaky.set(request.url!, times);
    response.statusCode = times === 1 ? 503 : 200;
    response.end();
  },
  '/soon': (_request, response) => void setTimeout(() => response.end(OK), 5),
  '/slow': (_request, response) => void setTimeout(() => response.end(OK), 60),
  '/slow-body': (_request, response) => {
    response.write(OK);
    setTimeout(() => response.end(OK), 60);
  },
  '/never': () => undefined,
  '/large': (_request, response) => {
    response.setHeader('content-length', LARGE);
    response.end(Buffer.alloc(LARGE));
  },
  // The connection breaks before the response, and within it.
  '/reset': request => void request.socket.destroy(),
  '/cut': (request, response) => {
    response.setHeader('content-length', 1_000);
    response.write(OK);
    setTimeout(() => request.socket.destroy(), 20);
  },
};

const answer: RequestListener = (request, response) => {
  const route = routes[request.url!.split('?', 1)[0]!];
  if (route === undefined) response.writeHead(500).end();
  else route(request, response);
};

async function listen(server: Server | Http2Server, paths: string[]): Promise<TestServer> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
  });
  server.on('request', ({ url }: { url?: string }) => paths.push(url!.split('?', 1)[0]!));
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    host: `127.0.0.1:${port}`,
    port,
    paths,
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** A server on a socket of this machine that answers by path; it echoes on an upgrade and on CONNECT. */
export async function startHttpServer(): Promise<TestServer> {
  const server = createServer(answer);
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
    socket.pipe(socket);
  });
  server.on('connect', (_request, socket) => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    socket.pipe(socket);
  });
  return listen(server, []);
}

/** The same over HTTP/2 without TLS. */
export async function startHttp2Server(): Promise<TestServer> {
  return listen(createHttp2Server(answer as never), []);
}
