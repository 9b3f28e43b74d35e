import { basename, sep } from 'node:path';

/**
 * Whether a bundler has put this package into one file with the application: then no file is its own, and
 * what the process has loaded is in no cache.
 */
export const isBundled: boolean = !/^own-files\.[jt]s$/.test(basename(__filename));

const FOLDER = __dirname.slice(0, __dirname.lastIndexOf(sep) + 1);

/** Whether a file is one of this package. */
export function isOwnFile(file: string): boolean {
  return !isBundled && file.startsWith(FOLDER);
}
