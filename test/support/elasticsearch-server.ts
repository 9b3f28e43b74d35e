/**
 * A stand-in for Elasticsearch: what the client says on the wire, answered from memory as documented at
 * https://www.elastic.co/docs/api/doc/elasticsearch/. It knows `match_all` and `term`, and answers by the
 * name of an index: `slow-…` waits, `broken-…` fails, `shaky-…` fails once, `cut-…` breaks the connection.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

type Json = Record<string, unknown>;
interface Found {
  readonly status?: number;
  readonly body: unknown;
}

export interface ElasticsearchServer {
  readonly url: string;
  /** How often it was asked. */
  readonly asked: () => number;
  /** Bytes of the bodies of its answers. */
  readonly sent: () => number;
  close(): Promise<void>;
}

const HEADERS = {
  'content-type': 'application/vnd.elasticsearch+json;compatible-with=9',
  'x-elastic-product': 'Elasticsearch',
};

export async function startElasticsearch(): Promise<ElasticsearchServer> {
  const indices = new Map<string, Map<string, Json>>();
  const scrolls = new Map<string, Json[]>();
  const shaken = new Set<string>();
  const sockets = new Set<Socket>();
  let asked = 0;
  let sent = 0;
  let ids = 0;

  const docsOf = (index: string): Map<string, Json> => {
    const docs = indices.get(index) ?? new Map<string, Json>();
    indices.set(index, docs);
    return docs;
  };

  function search(index: string | undefined, body: Json, from = 0, size = 10) {
    const names = index === undefined ? [...indices.keys()] : index.split(',');
    const hits = names.flatMap(name =>
      [...docsOf(name)].map(([id, source]) => ({ _index: name, _id: id, _source: source })),
    );
    const [field, value] = Object.entries((body['query'] as Json | undefined)?.['term'] ?? {})[0] ?? [];
    const matching =
      field === undefined ? hits : hits.filter(({ _source: source }) => source[field] === value);
    const most = Number(body['size'] ?? size);
    return {
      hits: { total: { value: matching.length, relation: 'eq' }, hits: matching.slice(from, from + most) },
    };
  }

  function write(index: string, id: string, source: Json | undefined, verb: string): Json {
    const docs = docsOf(index);
    const had = docs.has(id);
    if (verb === 'delete') docs.delete(id);
    else if (verb !== 'create' || !had)
      docs.set(id, { ...(verb === 'update' ? docs.get(id) : {}), ...source });
    if (verb === 'create' && had) {
      return { _index: index, _id: id, status: 409, error: { type: 'version_conflict_engine_exception' } };
    }
    const result = verb === 'delete' ? (had ? 'deleted' : 'not_found') : had ? 'updated' : 'created';
    return { _index: index, _id: id, result, status: result === 'not_found' ? 404 : had ? 200 : 201 };
  }

  function bulk(index: string | undefined, lines: Json[]): Json {
    const items: Json[] = [];
    for (let at = 0; at < lines.length; at++) {
      const [verb, target] = Object.entries(lines[at]!)[0] as [string, { _index?: string; _id?: string }];
      const source = verb === 'delete' ? undefined : lines[(at += 1)]!;
      const id = target._id ?? `auto-${(ids += 1)}`;
      const doc = verb === 'update' ? (source!['doc'] as Json) : source;
      items.push({ [verb]: write(target._index ?? index!, id, doc, verb) });
    }
    return { took: 1, errors: items.some(item => 'error' in (Object.values(item)[0] as Json)), items };
  }

  function answer(method: string, url: URL, lines: Json[]): Found {
    const segments = url.pathname.split('/').filter(Boolean).map(decodeURIComponent);
    const index = segments[0]?.startsWith('_') ? undefined : segments.shift();
    const [endpoint = '', id = ''] = segments;
    const body = lines[0] ?? {};
    const docs = index === undefined ? new Map<string, Json>() : docsOf(index);
    switch (endpoint) {
      case '':
        return { body: { acknowledged: true } };
      case '_search': {
        if (id === 'scroll') {
          if (method === 'DELETE') return { body: { succeeded: true, num_freed: 1 } };
          const rest = scrolls.get(String(body['scroll_id'])) ?? [];
          return {
            body: { _scroll_id: body['scroll_id'], hits: { total: { value: 0 }, hits: rest.splice(0, 2) } },
          };
        }
        if (!url.searchParams.has('scroll')) return { body: search(index, body) };
        const all = search(index, { ...body, size: 10_000 }).hits.hits;
        const scroll = `scroll-${(ids += 1)}`;
        scrolls.set(scroll, all.slice(2));
        return {
          body: { _scroll_id: scroll, hits: { total: { value: all.length }, hits: all.slice(0, 2) } },
        };
      }
      case '_msearch': {
        const responses = [];
        for (let at = 0; at < lines.length; at += 2) {
          const name = (lines[at]!['index'] as string | undefined) ?? index;
          responses.push({ status: 200, ...search(name, lines[at + 1]!) });
        }
        return { body: { took: 1, responses } };
      }
      case '_count':
        return { body: { count: docs.size, _shards: { total: 1, successful: 1, failed: 0 } } };
      case '_mget': {
        const wanted = (body['ids'] as string[] | undefined) ?? [];
        return {
          body: { docs: wanted.map(one => ({ _id: one, found: docs.has(one), _source: docs.get(one) })) },
        };
      }
      case '_bulk':
        return { body: bulk(index, lines) };
      case '_delete_by_query': {
        const deleted = docs.size;
        docs.clear();
        return { body: { took: 1, deleted, total: deleted, failures: [] } };
      }
      case '_update_by_query':
        return { body: { took: 1, updated: docs.size, total: docs.size, failures: [] } };
      case '_refresh':
        return { body: { _shards: { total: 1, successful: 1, failed: 0 } } };
      case '_query':
        return { body: { columns: [{ name: 'n' }], values: [[1], [2], [3]] } };
      case '_cat':
        return { body: [] };
      case '_update':
        return { body: write(index!, id, body['doc'] as Json, 'update') };
      case '_create':
      case '_doc': {
        if (method === 'GET' || method === 'HEAD') {
          const source = docs.get(id);
          const found = source !== undefined;
          return { status: found ? 200 : 404, body: { _index: index, _id: id, found, _source: source } };
        }
        const verb = method === 'DELETE' ? 'delete' : endpoint === '_create' ? 'create' : 'index';
        const written = write(index!, id === '' ? `auto-${(ids += 1)}` : id, body, verb);
        return { status: written['status'] as number, body: written };
      }
      default:
        return { status: 400, body: { error: { type: 'illegal_argument_exception' }, status: 400 } };
    }
  }

  function reply(request: IncomingMessage, response: ServerResponse, text: string): void {
    const url = new URL(request.url!, 'http://x');
    const lines = text
      .split('\n')
      .filter(Boolean)
      .map(line => JSON.parse(line) as Json);
    if (url.pathname.startsWith('/cut-')) return void request.socket.destroy();
    let { status = 200, body } = answer(request.method!, url, lines);
    if (url.pathname.startsWith('/broken-'))
      ({ status, body } = { status: 500, body: { error: { type: 'broken' }, status: 500 } });
    if (url.pathname.startsWith('/shaky-') && !shaken.has(url.pathname)) {
      shaken.add(url.pathname);
      ({ status, body } = { status: 503, body: { error: { type: 'unavailable' }, status: 503 } });
    }
    const payload = JSON.stringify(body);
    sent += Buffer.byteLength(payload);
    const send = (): void => {
      response.writeHead(status, { ...HEADERS, 'content-length': Buffer.byteLength(payload) });
      response.end(request.method === 'HEAD' ? undefined : payload);
    };
    if (url.pathname.startsWith('/slow-')) setTimeout(send, 60);
    else send();
  }

  const server = createServer((request, response) => {
    asked += 1;
    let text = '';
    request.on('data', chunk => (text += String(chunk))).on('end', () => reply(request, response, text));
  });
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
  });
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: () => asked,
    sent: () => sent,
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
