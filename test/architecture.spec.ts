import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const lib = join(root, 'lib');

/** From the bottom up: a folder imports only from those before it, `import type` included. */
const FOLDERS = [
  'kernel',
  'sql',
  'w3c',
  'cost',
  'context',
  'record',
  'reporting',
  'budget',
  'detectors',
  'instrumentation',
  'drivers',
  'propagation',
  'sinks',
  'handlers',
  'guards',
  'units',
  'entry',
  'module',
];

interface Import {
  readonly from: string;
  readonly to: string;
}

/** `cost/evidence/judge.ts` */
function nameOf(path: string): string {
  return relative(lib, path).split(sep).join('/');
}

/** The folder of a file; the files that packages import stand in none, and above all. */
function folderOf(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : 'index';
}

function importsOf(path: string): Import[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(path, 'utf8'), true, true);
  return importedFiles
    .map(({ fileName }) => fileName)
    .filter(name => name.startsWith('.'))
    .map(name => ({ from: nameOf(path), to: nameOf(resolve(dirname(path), name)) }));
}

function isUpwards({ from, to }: Import): boolean {
  return FOLDERS.indexOf(folderOf(to)) > FOLDERS.indexOf(folderOf(from)) && folderOf(from) !== 'index';
}

const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts'))
  .map(name => join(lib, name));
const imports = files.flatMap(importsOf);

describe('the folders of lib/', () => {
  it('are those of the list', () => {
    const found = new Set(files.map(path => folderOf(nameOf(path))));
    found.delete('index');
    expect([...found].sort()).toEqual([...FOLDERS].sort());
  });

  it('import only from folders before them', () => {
    expect(imports.length).toBeGreaterThan(1_000);
    expect(imports.filter(isUpwards).map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it.each([
    [{ from: 'kernel/one.ts', to: 'sql/two' }, true],
    [{ from: 'sql/two.ts', to: 'kernel/one' }, false],
    [{ from: 'units/a.ts', to: 'entry/b' }, true],
    [{ from: 'index.ts', to: 'module/c' }, false],
  ])('would be seen to import upwards: %j', (one, expected) => {
    expect(isUpwards(one)).toBe(expected);
  });

  it('are in ARCHITECTURE.md as they are, with what they import', () => {
    const document = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');
    const rows = [...document.matchAll(/^\| `([a-z0-9]+)\/` *\|[^|]*\|([^|]*)\|$/gm)].map(
      ([, folder = '', list = '']) => [folder, list.trim()],
    );
    const actual = FOLDERS.map(folder => {
      const used = new Set(
        imports.filter(({ from }) => folderOf(from) === folder).map(({ to }) => folderOf(to)),
      );
      return [folder, FOLDERS.filter(one => one !== folder && used.has(one)).join(', ') || 'nothing'];
    });
    expect(rows).toEqual(actual);
  });
});
