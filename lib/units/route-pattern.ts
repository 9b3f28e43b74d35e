import { isRaw } from '../context/remembered-context';

/** Stands for a pattern that is not known. */
const UNMATCHED = '(unmatched)';
/** Routers in routers; one may hold itself. */
const MAX_DEPTH = 8;

/** One entry of a router of Express. `rawPath` is what it was mounted with, from `router` 2.3 on. */
interface Layer {
  readonly route?: unknown;
  readonly rawPath?: unknown;
  readonly slash?: boolean;
  readonly handle?: { readonly stack?: readonly Layer[] };
}

interface ExpressRequest {
  readonly baseUrl?: string;
  readonly route?: { readonly path?: unknown };
  readonly app?: { path(): string; readonly router: { readonly stack: readonly Layer[] } };
}

interface FastifyRequest {
  readonly is404?: boolean;
  readonly routeOptions?: { readonly url?: string };
}

/** `/orders/:id`, when a route took the request. Never a part of the URL that was asked for. */
export function routePattern(request: object): string | undefined {
  if (!isRaw(request)) {
    const { is404, routeOptions } = request as FastifyRequest;
    return is404 === true ? undefined : routeOptions?.url;
  }
  const { baseUrl = '', route, app } = request as ExpressRequest;
  if (route?.path === undefined) return undefined;
  const path = String(route.path);
  // Of what a router is mounted on, Express tells the text that it has matched: `/reset/s3cr3t`.
  return baseUrl === '' ? path : mountedPattern(baseUrl, route, path, app);
}

const mountings = new WeakMap<object, readonly string[]>();

function mountedPattern(matched: string, route: object, path: string, app: ExpressRequest['app']): string {
  let prefixes = mountings.get(route);
  if (prefixes === undefined) mountings.set(route, (prefixes = mountingsOf(route, app)));
  const fitting = prefixes.filter(prefix => fits(prefix, matched));
  return fitting.length === 1 ? `${fitting[0]}${path}` : UNMATCHED;
}

/** The patterns that lead to a route, as far as its application tells them. */
function mountingsOf(route: object, app: ExpressRequest['app']): readonly string[] {
  const found = new Set<string>();
  const look = (stack: readonly Layer[], prefix: string, depth: number): void => {
    for (const layer of stack) {
      if (layer.route === route) found.add(prefix);
      const inner = layer.handle?.stack;
      const own = layer.slash === true ? '' : layer.rawPath;
      if (!Array.isArray(inner) || depth === MAX_DEPTH) continue;
      for (const each of [own].flat() as unknown[]) {
        if (typeof each === 'string') look(inner as Layer[], `${prefix}${each}`, depth + 1);
      }
    }
  };
  try {
    // An application that is mounted in another one knows by what pattern.
    if (app !== undefined) look(app.router.stack, app.path(), 0);
  } catch {
    // Express 4, whose router cannot be asked for it.
  }
  return [...found];
}

/** Whether a pattern without wildcards and options can have matched this text. */
function fits(pattern: string, matched: string): boolean {
  const texts = matched.split('/');
  const parts = pattern.split('/');
  return (
    parts.length === texts.length &&
    parts.every((part, at) => /^:\w+$/.test(part) || part.toLowerCase() === texts[at]?.toLowerCase())
  );
}
