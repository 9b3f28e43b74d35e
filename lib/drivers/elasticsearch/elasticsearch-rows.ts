interface Body {
  readonly hits?: { readonly hits?: unknown; readonly events?: unknown };
  /** Of an async search. */
  readonly response?: Body;
  readonly responses?: unknown;
  readonly docs?: unknown;
  readonly items?: unknown;
  readonly rows?: unknown;
  readonly values?: unknown;
  readonly found?: unknown;
  readonly result?: unknown;
  readonly created?: unknown;
  readonly updated?: unknown;
  readonly deleted?: unknown;
}

/**
 * Documents that a response holds, or that were written: the hits of a search, the items of a bulk, 1 for
 * a document that is found or written, what a request by query has changed. Never throws.
 */
export function rowsOfBody(body: unknown): number {
  try {
    return typeof body === 'object' && body !== null ? rowsOf(body as Body) : 0;
  } catch {
    // A serializer of the application's own may give anything.
    return 0;
  }
}

function rowsOf(body: Body): number {
  const { hits, response, responses, docs, items, rows, values } = body;
  if (hits !== undefined) return lengthOf(hits.hits) + lengthOf(hits.events);
  if (response !== undefined) return rowsOfBody(response);
  if (Array.isArray(responses)) return sum(responses, rowsOfBody);
  if (Array.isArray(docs)) return sum(docs, doc => ((doc as Body | null)?.found === true ? 1 : 0));
  const list = items ?? rows ?? values;
  if (Array.isArray(list)) return list.length;
  if (body.found !== undefined) return body.found === true ? 1 : 0;
  if (typeof body.result === 'string') return body.result === 'not_found' || body.result === 'noop' ? 0 : 1;
  return numberOf(body.created) + numberOf(body.updated) + numberOf(body.deleted);
}

const lengthOf = (list: unknown): number => (Array.isArray(list) ? list.length : 0);
const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0);
const sum = (list: readonly unknown[], of: (item: unknown) => number): number =>
  list.reduce<number>((total, item) => total + of(item), 0);
