import { RecentMap } from '../../kernel/recent-map';
import type { Statement } from '../../sql/statement';
import { withoutValues } from '../../sql/value-like';

/** What the client gives its transport; `meta` is there unless the application calls the transport itself. */
export interface TransportParams {
  readonly method: string;
  readonly path: string;
  readonly querystring?: unknown;
  readonly body?: unknown;
  readonly bulkBody?: unknown;
  readonly meta?: { readonly name?: unknown; readonly pathParts?: { readonly index?: unknown } };
}

const MAX_NAME_LENGTH = 200;

/** What reads although it is not a GET, and what changes no data. */
const READS = new Set(
  `search msearch scroll clear_scroll count mget search_template msearch_template open_point_in_time
  close_point_in_time pit field_caps explain termvectors mtermvectors rank_eval knn_search search_mvt
  search_shards terms_enum render_search_template scripts_painless_execute async_search async_search.submit
  async_search.delete eql.search eql.delete esql.query esql.async_query esql.async_query_delete sql.query
  sql.translate sql.clear_cursor sql.delete_async graph.explore indices.analyze indices.validate_query
  indices.refresh indices.flush indices.forcemerge indices.clear_cache refresh flush forcemerge analyze
  fleet.search fleet.msearch rollup.rollup_search search_application.search inference.inference
  inference.completion inference.rerank inference.text_embedding inference.sparse_embedding
  inference.embedding ingest.simulate`.split(/\s+/),
);

/** `_doc` says what it does by its method. */
const OF_DOCUMENT: Readonly<Record<string, string>> = {
  GET: 'get',
  HEAD: 'exists',
  PUT: 'index',
  POST: 'index',
  DELETE: 'delete',
};

const known = new RecentMap<Statement>(1_000);
/** By name of the client's method, then by index: their text together would be hashed each time. */
const ofMethods = new Map<string, RecentMap<Statement>>();
const NO_INDEX = '';

/** `search orders`, `indices.refresh orders`, `bulk`; a path that is not known as `GET /_cat/?`. */
export function describeRequest(params: TransportParams): Statement {
  const { method, path, meta } = params;
  if (typeof meta?.name !== 'string') return describePath(method, path);
  const { name } = meta;
  const index = meta.pathParts?.index;
  const table = index === undefined || index === null ? NO_INDEX : String(index);
  let byIndex = ofMethods.get(name);
  if (byIndex === undefined) ofMethods.set(name, (byIndex = new RecentMap(200)));
  const found = byIndex.get(table);
  if (found !== undefined) return found;
  const statement = statementOf(name, table === NO_INDEX ? undefined : table, method);
  byIndex.set(table, statement);
  return statement;
}

function describePath(method: string, path: string): Statement {
  const segments = path.split('?', 1)[0]!.split('/').filter(Boolean);
  const hasIndex = segments.length > 0 && !segments[0]!.startsWith('_');
  const index = hasIndex ? decode(segments[0]!) : undefined;
  const [endpoint, ...rest] = hasIndex ? segments.slice(1) : segments;
  if (endpoint === '_search' && rest[0] === 'scroll') return statementOf('scroll', index, method);
  if (endpoint === '_doc') return statementOf(OF_DOCUMENT[method] ?? 'get', index, method);
  if (endpoint?.startsWith('_') && rest.length <= (hasIndex ? 1 : 0)) {
    return statementOf(endpoint.slice(1), index, method);
  }
  const table = index && withoutValues(index);
  const named = segments.map((segment, at) => {
    if (hasIndex && at === 0) return table;
    return segment.startsWith('_') ? segment : '?';
  });
  return intern(`${method} /${named.join('/')}`, table, method, isRead(method, ''));
}

function statementOf(name: string, index: string | undefined, method: string): Statement {
  const table = index && withoutValues(index).slice(0, MAX_NAME_LENGTH);
  const shape = table === undefined ? name : `${name} ${table}`;
  return intern(shape, table, name, isRead(method, name));
}

function intern(shape: string, table: string | undefined, operation: string, reads: boolean): Statement {
  // The method is not in the shape, but may make a write of the same name.
  const key = reads ? shape : `!${shape}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const statement: Statement = Object.freeze({
    shape: shape.slice(0, 2_048),
    table,
    operation,
    kind: reads ? 'read' : 'write',
  });
  known.set(key, statement);
  return statement;
}

function isRead(method: string, name: string): boolean {
  return method === 'GET' || method === 'HEAD' || READS.has(name);
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
