// Packs the built package into .cache/package/ the way `npm publish` would.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';

const folder = resolve(import.meta.dirname, '../.cache/package');

/** Returns `{ tarball, size, files }`: the absolute path, the bytes packed, the paths inside. */
export function pack() {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const answer = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: resolve(import.meta.dirname, '..'),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [packed] = JSON.parse(answer);
  return {
    tarball: resolve(folder, packed.filename),
    size: packed.size,
    files: packed.files.map(file => file.path),
  };
}
