import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** What the package exports, by the name that it is imported by; types as `type Name`. */
function exportsOf(): Map<string, string[]> {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, string | { types: string }>;
  };
  const names = new Map<string, string[]>();
  for (const [subpath, target] of Object.entries(exports)) {
    if (typeof target === 'string') continue;
    const text = readFileSync(sourceOf(target.types), 'utf8');
    const listed = [...text.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(([, type = '', list = '']) =>
      list
        .split(',')
        .map(name => name.trim())
        .filter(name => name !== '')
        .map(name => (name.startsWith('type ') ? name : `${type}${name}`)),
    );
    const declared = [
      ...text.matchAll(/^export (?:abstract )?(class|function|const|interface|type) (\w+)/gm),
    ].map(([, kind = '', name = '']) => (/interface|type/.test(kind) ? `type ${name}` : name));
    const known = new Set([...names.values()].flat());
    const fresh = [...listed, ...declared].filter(name => !known.has(name));
    names.set(`nestjs-async-context${subpath.slice(1)}`, fresh);
  }
  return names;
}

/** `lib/index.ts` of `./dist/index.d.ts`. */
const sourceOf = (types: string): string =>
  join(root, types.replace('./dist/', 'lib/').replace(/\.d\.ts$/, '.ts'));

/** What the fragments in doc comments take for granted. */
const PRELUDE = `
import { Controller, Delete, Get, Injectable, Logger, Module, type DynamicModule, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
declare const context: ContextService;
declare const figures: ProcessFigures;
declare const app: INestApplication;
declare const socket: { write(text: string): void; on(event: string, listener: (chunk: unknown) => unknown): void };
declare const emitter: typeof socket;
declare const orders: { list(): Promise<void> };
declare function expect(value: unknown): { rejects: { toBeInstanceOf(type: unknown): Promise<void> }; toBe(value: unknown): void; toEqual(value: unknown): void };
declare function Cron(expression: string): MethodDecorator;
declare class ConfigModule {}
declare class ConfigService { get<T>(name: string): T }
declare class Connection { query(text: string): unknown[] }
export { Controller, Delete, Get, Injectable, Logger, Module, NestFactory, type DynamicModule };
`;

/** All that the package exports, less what an example imports or declares itself. */
function imports(code: string): string {
  const imported = [...code.matchAll(/^import (?:type )?\{([^}]*)\}/gm)].flatMap(([, list = '']) =>
    list.split(','),
  );
  const declared = [
    ...code.matchAll(/^(?:export )?(?:declare )?(?:class|const|interface|function) (\w+)/gm),
  ].map(([, name = '']) => name);
  const own = new Set([...imported, ...declared].map(name => name.replace('type ', '').trim()));
  return [...exportsOf()]
    .map(([from, names]) => {
      const wanted = names.filter(name => !own.has(name.replace('type ', '')));
      return `import { ${wanted.join(', ')} } from '${from}';\n`;
    })
    .join('');
}

interface Example {
  readonly name: string;
  readonly code: string;
}

function filesOf(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith(ending))
    .map(path => join(folder, path));
}

/** Whole modules, as a reader would paste them. */
function examplesOfDocs(): Example[] {
  return ['README.md', ...filesOf('docs', '.md')].flatMap(path =>
    [...readFileSync(join(root, path), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map((match, i) => ({
      name: `${path} ${i + 1}`,
      code: match[1]!,
    })),
  );
}

/** Fragments: expressions, statements, or members of a class. */
function examplesOfComments(): Example[] {
  // What the package exports; inside, an example is for the reader of the file.
  const index = readFileSync(join(root, 'lib/index.ts'), 'utf8');
  const manifest = readFileSync(join(root, 'package.json'), 'utf8');
  const exported = filesOf('lib', '.ts').filter(
    path =>
      index.includes(`'./${path.slice(4, -3)}'`) || manifest.includes(`"./dist/${path.slice(4, -3)}.d.ts"`),
  );
  return exported.flatMap(path => {
    const text = readFileSync(join(root, path), 'utf8');
    return [...text.matchAll(/@example\n([\s\S]*?)\*\//g)].map((match, i) => {
      const code = match[1]!.replace(/^\s*\* ?/gm, '');
      const app = /class AppModule/.test(code) ? '' : 'declare class AppModule {}\n';
      return { name: `${path} ${i + 1}`, code: `${imports(code)}${PRELUDE}${app}${asModule(code)}` };
    });
  });
}

function asModule(code: string): string {
  // A decorated method stands for one of a class.
  if (/^@(?:Cron|RunInContext)/.test(code)) return `export class Example {\n${code}\n}`;
  if (/^(?:@\w|import |export |class |declare )/m.test(code) && !/\bthis\./.test(code)) return code;
  if (/^(?:@\w|export )/m.test(code)) return code.replaceAll('this.logger', 'new Logger()');
  return `export async function example(this: any) {\n${code}\n}`;
}

function compile(examples: readonly Example[]): Map<string, string[]> {
  const { config } = ts.readConfigFile(join(root, 'test/tsconfig.json'), path => ts.sys.readFile(path)) as {
    config: object;
  };
  const parsed = ts.parseJsonConfigFileContent(config, ts.sys, join(root, 'test'));
  const sources = new Map(
    examples.map(({ name, code }, i) => [join(root, `test/example-${i}.ts`), { name, code }]),
  );
  const options: ts.CompilerOptions = {
    ...parsed.options,
    noEmit: true,
    noUnusedLocals: false,
    noUnusedParameters: false,
    noImplicitReturns: false,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = path => sources.has(path) || fileExists(path);
  host.readFile = path => sources.get(path)?.code ?? readFile(path);
  host.getSourceFile = (path, target, ...rest) => {
    const source = sources.get(path);
    return source === undefined
      ? getSourceFile(path, target, ...rest)
      : ts.createSourceFile(path, source.code, target);
  };
  const program = ts.createProgram([...sources.keys()], options, host);
  const errors = new Map<string, string[]>();
  for (const [path, { name }] of sources) {
    const file = program.getSourceFile(path)!;
    const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    errors.set(
      name,
      found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
    );
  }
  return errors;
}

describe('every example compiles', () => {
  const examples = [...examplesOfDocs(), ...examplesOfComments()];
  const errors = compile(examples);

  it('and there are some', () => {
    expect(examples.length).toBeGreaterThan(25);
  });

  it.each(examples.map(({ name }) => name))('%s', name => {
    expect(errors.get(name)).toEqual([]);
  });
});
