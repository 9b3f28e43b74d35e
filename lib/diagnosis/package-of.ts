import { sep } from 'node:path';

const FOLDER = `${sep}node_modules${sep}`;

/** The name of the package that a file belongs to; `undefined` for one of the application. */
export function packageOf(file: string): string | undefined {
  const at = file.lastIndexOf(FOLDER);
  if (at < 0) return undefined;
  const [first = '', second] = file.slice(at + FOLDER.length).split(sep);
  return first.startsWith('@') ? `${first}/${second}` : first;
}
