import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '../..');

const compilerOptions: ts.CompilerOptions = {
  module: ts.ModuleKind.CommonJS,
  target: ts.ScriptTarget.ES2023,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  esModuleInterop: true,
  inlineSourceMap: true,
};

/**
 * A file, compiled. All of `lib/` takes 4 s, and a dozen specs want it: what came of a file is kept in `.cache/`,
 * and ends in a comment that says what it came of.
 */
function compiled(path: string): string {
  const source = readFileSync(join(root, path), 'utf8');
  const cause = createHash('sha256').update(JSON.stringify([ts.version, compilerOptions, root, source]));
  const end = `\n// ${cause.digest('hex')}\n`;
  const kept = join(root, '.cache/programs', path.replace(/\.ts$/, '.js'));
  try {
    const text = readFileSync(kept, 'utf8');
    if (text.endsWith(end)) return text;
  } catch {
    // Not kept yet.
  }
  const { outputText } = ts.transpileModule(source, { compilerOptions, fileName: join(root, path) });
  mkdirSync(dirname(kept), { recursive: true });
  // Another spec may do the same at the same time.
  const mine = `${kept}.${process.pid}`;
  writeFileSync(mine, outputText + end);
  renameSync(mine, kept);
  return outputText + end;
}

/** Programs that run without vitest, compiled out of `lib/` and of `test/`. */
export class Programs {
  readonly folder = mkdtempSync(join(tmpdir(), 'nestjs-async-context-'));

  constructor(...programs: string[]) {
    const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith('.ts'))
      .map(path => join('lib', path));
    for (const path of [...sources, ...programs]) this.#compile(path);
    const packages = process.env['NEST'] === '11' ? 'test/nest-11/node_modules' : 'node_modules';
    symlinkSync(join(root, packages), join(this.folder, 'node_modules'));
  }

  /** Starts a program; what it prints is taken as JSON, a line each. */
  start<T>(program: string, settings: object, nodeArgs: readonly string[] = []): Child<T> {
    return new Child(join(this.folder, program.replace(/\.ts$/, '.js')), settings, nodeArgs);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  #compile(path: string): void {
    const to = join(this.folder, path.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, compiled(path));
  }
}

/** A process of its own. */
export class Child<T> {
  readonly said: T[] = [];
  stderr = '';
  readonly exited: Promise<number | string | null>;
  readonly #process;

  constructor(file: string, settings: object, nodeArgs: readonly string[]) {
    this.#process = fork(file, [JSON.stringify(settings)], {
      execArgv: ['--disable-warning=ExperimentalWarning', ...nodeArgs],
      silent: true,
    });
    let rest = '';
    this.#process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) this.said.push(JSON.parse(line) as T);
    });
    this.#process.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.exited = new Promise(resolve => {
      this.#process.on('close', (code, signal) => resolve(code ?? signal));
    });
  }

  /** Waits for something that it says; on a busy machine its start alone takes seconds. */
  async hears<S extends T>(what: string, is: (said: T) => said is S): Promise<S> {
    const end = Date.now() + 240_000;
    for (;;) {
      const heard = this.said.find(is);
      if (heard !== undefined) return heard;
      if (Date.now() > end) throw new Error(`no ${what} from the program within 4 minutes: ${this.stderr}`);
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }

  get pid(): number {
    return this.#process.pid!;
  }

  send(command: string): void {
    this.#process.send(command);
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.exited;
  }
}
