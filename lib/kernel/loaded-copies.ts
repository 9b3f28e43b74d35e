import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, sep } from 'node:path';
import { givenCopies } from './given-modules';
import { exportsOf, loadedFiles, loadedNative, lookAgain } from './loaded-files';

/**
 * Every copy of a CommonJS file of a package that the process has loaded, also through `import`:
 * an application and its ORM may each have their own. And what the application has given of it.
 */
export function loadedCopies(packageName: string, file: string): unknown[] {
  const ending = folderOf(packageName) + file.split('/').join(sep);
  const loaded = loadedFiles(packageName).filter(path => path.endsWith(ending));
  return [...new Set([...loaded.map(exportsOf), ...givenCopies(packageName, file)])];
}

/** The native code of a package that the process has loaded. */
export function loadedAddons(packageName: string): unknown[] {
  const folder = folderOf(packageName);
  return loadedNative()
    .filter(path => path.includes(folder))
    .map(exportsOf);
}

function folderOf(packageName: string): string {
  return ['', 'node_modules', ...packageName.split('/'), ''].join(sep);
}

/**
 * The builds of a package that the application has installed: for one whose ES module build is a
 * class of its own, which no cache lists. They are loaded by this, also when nobody uses them.
 */
export function installedBuilds(packageName: string, files: readonly string[]): unknown[] {
  const folder = installedFolder(packageName);
  if (folder === undefined) return [];
  const load = createRequire(__filename);
  lookAgain();
  return files.flatMap(file => {
    try {
      return [load(join(folder, file)) as unknown];
    } catch {
      // Not in this version of the package, or not to be loaded by this version of Node.
      return [];
    }
  });
}

/** Whether the application has a package installed. */
export function isInstalled(packageName: string): boolean {
  return installedFolder(packageName) !== undefined;
}

/** Where the application has a package installed. */
export function installedFolder(packageName: string): string | undefined {
  const folders = createRequire(join(process.cwd(), 'index.js')).resolve.paths(packageName) ?? [];
  return folders.map(path => join(path, packageName)).find(path => existsSync(path));
}
