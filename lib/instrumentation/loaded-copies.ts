import { createRequire } from 'node:module';
import { join, sep } from 'node:path';

/**
 * Every copy of a CommonJS file of a package that the process has loaded, also through `import`:
 * an application and its ORM may each have their own. With none loaded yet, the application's.
 */
export function loadedCopies(packageName: string, file: string): unknown[] {
  const load = createRequire(__filename);
  const ending = ['', 'node_modules', packageName, ...file.split('/')].join(sep);
  const copies: unknown[] = [];
  for (const path of Object.keys(load.cache)) {
    if (path.endsWith(ending)) copies.push(load.cache[path]?.exports);
  }
  return copies.length > 0 ? copies : ofApplication(packageName, file);
}

function ofApplication(packageName: string, file: string): unknown[] {
  const load = createRequire(join(process.cwd(), 'index.js'));
  try {
    load(packageName);
  } catch {
    // Not installed.
    return [];
  }
  const ending = ['', packageName, ...file.split('/')].join(sep);
  return Object.keys(load.cache)
    .filter(path => path.endsWith(ending))
    .map(path => load.cache[path]?.exports);
}
