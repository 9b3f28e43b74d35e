import type { CostRecord } from '../cost/cost-record';
import { OTHER } from './bounded-names';

/** The methods that applications answer to; a client may send 25 more, each of which were a series. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY']);

/** `GET`, …, `other`; `undefined` for what is not HTTP. */
export function methodOf({ method }: CostRecord): string | undefined {
  return method === undefined || METHODS.has(method) ? method : OTHER;
}

/** What a record and a unit of work both say. */
interface Routed {
  readonly route?: string | undefined;
  readonly method?: string | undefined;
}

/** The pattern without its method: `/orders/:id`; `undefined` where no route took the work. */
export function routeOf({ route, method }: Routed): string | undefined {
  if (route === undefined || method === undefined || !route.startsWith(`${method} `)) return route;
  return route.slice(method.length + 1);
}

/** `2xx` to `5xx`; without a status `aborted`, `error` or `ok`. */
export function outcomeOf({ status, aborted, error }: CostRecord): string {
  if (aborted) return 'aborted';
  if (status !== undefined) return `${Math.trunc(status / 100)}xx`;
  return error === undefined ? 'ok' : 'error';
}
