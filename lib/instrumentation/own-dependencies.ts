import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';

const LISTS = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'];

/**
 * Whether the application itself depends on the package in a folder: a `package.json` at or above its main file
 * or its working directory lists the name, which resolves to that folder from there.
 *
 * The list alone tells who brings a package that npm has hoisted; Node alone tells which of two copies the
 * application has, through the links of pnpm and the map of Yarn PnP as well. What cannot be known is another's.
 */
export function isOwnDependency(name: string, folder: string): boolean {
  for (const manifest of manifests()) {
    if (isListed(name, manifest) && mainFile(name, manifest)?.startsWith(folder + sep) === true) return true;
  }
  return false;
}

/** The nearest is not always the one: builds have one that says `"type"` only, workspaces one for each package. */
function manifests(): Set<string> {
  const found = new Set<string>();
  for (const start of [dirname(process.argv[1] ?? ''), workingDirectory()]) {
    // A runner of tests, or of processes.
    if (start === '.' || `${start}${sep}`.includes(`${sep}node_modules${sep}`)) continue;
    for (let at = start, above = dirname(at); ; at = above, above = dirname(at)) {
      found.add(join(at, 'package.json'));
      if (above === at) break;
    }
  }
  return found;
}

function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    // It was removed.
    return '.';
  }
}

function isListed(name: string, manifest: string): boolean {
  try {
    const lists = JSON.parse(readFileSync(manifest, 'utf8')) as Record<string, object | undefined>;
    return LISTS.some(list => Object.hasOwn(lists[list] ?? {}, name));
  } catch {
    // There is none.
    return false;
  }
}

function mainFile(name: string, manifest: string): string | undefined {
  try {
    return createRequire(manifest).resolve(name);
  } catch {
    // Listed and not installed, or without anything for `require()`.
    return undefined;
  }
}
