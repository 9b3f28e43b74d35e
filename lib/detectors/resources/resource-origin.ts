import { sep } from 'node:path';
import { type CallSite, describeCallSite, framesOf, siteOf } from '../../kernel/call-site';
import { isOwnFile } from '../../kernel/own-files';
import { originalPosition } from '../../kernel/source-position';
import { RESOURCE_RULES } from './resource-types';
import type { ResourceType } from '../../context/request-context';

/** Modules of Node that run something in a storage. */
const STORAGES = /^node:(?:internal\/)?async_/;
const PACKAGES = `${sep}node_modules${sep}`;

/** Where a resource was made, without what its stack held on to. */
export interface ResourceOrigin {
  /** The module of Node that made it for itself: an agent, a pool. */
  readonly node: string | undefined;
  /** The line that asked for it, of the application or of a package. */
  readonly nearest: CallSite;
  /** The nearest line outside of packages. */
  readonly application: CallSite | undefined;
}

/** Whether a package or Node keeps it, as far as the paths of the files say. */
export function isKept({ node, nearest }: ResourceOrigin): boolean {
  return node !== undefined || nearest.file.includes(PACKAGES);
}

/** Who keeps a resource, as it is reported. */
export interface ResourceKeeper {
  readonly callSite: string | undefined;
  /** The package or the module of Node; `undefined` where it is the application itself. */
  readonly keptBy: string | undefined;
}

/** Reads a stack; `undefined` for what Node or this package made by itself. */
export function originOf(
  type: ResourceType,
  stack: Parameters<typeof framesOf>[0],
): ResourceOrigin | undefined {
  const { through } = RESOURCE_RULES[type];
  let node: string | undefined;
  let nearest: CallSite | undefined;
  for (const frame of framesOf(stack)) {
    const site = siteOf(frame);
    if (site === undefined) continue;
    if (site.file.startsWith('node:')) {
      if (nearest === undefined && !through.test(site.file) && !STORAGES.test(site.file)) {
        node ??= site.file;
      }
      continue;
    }
    if (isOwnFile(site.file)) {
      // A timer of this package's own; a replaced method, such as `http.get()`, has Node's module below it. It
      // opens no socket itself, and stands between one and who asked for it: see `opened-connections.ts`.
      if (nearest === undefined && node === undefined && type !== 'socket') return undefined;
      continue;
    }
    nearest ??= site;
    if (!site.file.includes(PACKAGES)) return { node, nearest, application: site };
  }
  return nearest && { node, nearest, application: undefined };
}

/** Says whose it is. Reads source maps: a bundle holds its packages in the application's own file. */
export function keeperOf({ node, nearest, application }: ResourceOrigin): ResourceKeeper {
  return {
    callSite: application && describeCallSite(application),
    keptBy: packageOf(nearest) ?? (node && nameOfModule(node)),
  };
}

function packageOf({ file, line, column }: CallSite): string | undefined {
  const path = file.includes(PACKAGES) ? file : originalPosition(file, line, column).file;
  const at = path.lastIndexOf(PACKAGES);
  if (at === -1) return undefined;
  const [scope, name] = path.slice(at + PACKAGES.length).split(sep);
  return scope?.startsWith('@') ? `${scope}/${name}` : scope;
}

/** `node:http_agent` of `node:_http_agent`, `node:undici` of `node:internal/deps/undici/undici`. */
function nameOfModule(module: string): string {
  return module.replace(/^node:(?:internal\/)?(?:deps\/)?_?([^/]+).*/, 'node:$1');
}
