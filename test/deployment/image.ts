import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import ts from 'typescript';

export const root = join(import.meta.dirname, '../..');

export const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The last instruction of that name in the Dockerfile, in exec form. */
export function instruction(name: 'CMD' | 'HEALTHCHECK'): readonly string[] {
  const dockerfile = read('sample-app/Dockerfile').replaceAll('\\\n', ' ');
  const line = dockerfile.split('\n').findLast(text => text.startsWith(`${name} `));
  return JSON.parse(/\[.*\]$/.exec(line ?? '')?.[0] ?? '[]') as string[];
}

/** A folder with what the image has in it: the compiled programs and the packages that they may use. */
export class ImageFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'image-'));

  constructor() {
    for (const [from, to] of [
      ['lib', 'dist'],
      ['sample-app/src', 'sample-app/dist'],
    ] as const) {
      for (const file of readdirSync(join(root, from), { recursive: true, encoding: 'utf8' })) {
        if (file.endsWith('.ts'))
          this.#write(join(to, file.replace(/\.ts$/, '.js')), compile(join(from, file)));
      }
    }
    this.#write('package.json', read('package.json'));
    const list = execFileSync(process.execPath, [join(root, 'sample-app/deploy/runtime-tree.mjs'), '--list']);
    for (const path of String(list).trim().split('\n')) {
      // What is inside of a package comes with the link to it.
      if (path.lastIndexOf('node_modules/') > 0) continue;
      mkdirSync(dirname(join(this.path, path)), { recursive: true });
      symlinkSync(join(root, path), join(this.path, path));
    }
  }

  /** With it, a package is looked for beside the link: what the list does not name is not found. */
  get environment(): Readonly<Record<string, string>> {
    return { NODE_OPTIONS: '--preserve-symlinks --preserve-symlinks-main', NODE_ENV: 'production' };
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }

  #write(path: string, text: string): void {
    mkdirSync(dirname(join(this.path, path)), { recursive: true });
    writeFileSync(join(this.path, path), text);
  }
}

function compile(path: string): string {
  return ts.transpileModule(read(path), {
    compilerOptions: {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2023,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      esModuleInterop: true,
    },
    fileName: join(root, path),
  }).outputText;
}
