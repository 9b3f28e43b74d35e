import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import type * as Package from 'nestjs-async-context';

const root = join(import.meta.dirname, '../..');
const PROTOCOL = /(PROTOCOL = )\d+/;

export type PackageCopy = typeof Package;

/** Further copies of the package in this process, as a second version in `node_modules` would be. */
export class PackageCopies {
  readonly #folders: string[] = [];
  readonly #compiled = compileAll();

  /**
   * @param protocol what it says it can share; by default what the sources say
   * @param entry another one than the root
   */
  load<T = PackageCopy>(protocol?: number, entry = 'index.js'): T {
    mkdirSync(join(root, '.cache'), { recursive: true });
    // Below the root, so that Nest is found.
    const folder = mkdtempSync(join(root, '.cache', 'copy-'));
    this.#folders.push(folder);
    for (const [path, text] of this.#compiled) {
      const to = join(folder, path);
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, protocol === undefined ? text : text.replace(PROTOCOL, `$1${protocol}`));
    }
    return createRequire(join(folder, 'index.js'))(`./${entry}`) as T;
  }

  remove(): void {
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }
}

function compileAll(): Map<string, string> {
  const paths = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' });
  return new Map(
    paths
      .filter(path => path.endsWith('.ts'))
      .map(path => [
        path.replace(/\.ts$/, '.js'),
        compile(readFileSync(join(root, 'lib', path), 'utf8'), path),
      ]),
  );
}

function compile(text: string, fileName: string): string {
  return ts.transpileModule(text, {
    compilerOptions: {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2023,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
    },
    fileName,
  }).outputText;
}
