import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** The names of all instrumentations. */
function driversOf(): string {
  const names = readFileSync(join(root, 'lib/index.ts'), 'utf8').match(/\w+Instrumentation\b(?= \})/g);
  return (names ?? []).join(', ');
}

/** What the fragments in doc comments take for granted. */
const PRELUDE = `
import { Controller, Get, Injectable, Logger, Module, type DynamicModule, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import * as library from 'nestjs-async-context';
import {
  AsyncContextError, AsyncContextModule, ContextLogger, ContextService, MemorySink, NdjsonFileSink, QueryBudget,
  QueryBudgetExceededError, ResourceMonitor, RunInContext, contextLogFields, createContextKey,
  traceProviders,
  type BudgetLimits, type Carrier, type CostRecord, type CostRecordSink, type DriverInstrumentation,
  type LogFieldNames,
} from 'nestjs-async-context';
declare const context: ContextService;
declare const app: INestApplication;
declare const socket: { write(text: string): void; on(event: string, listener: (chunk: unknown) => unknown): void };
declare const emitter: typeof socket;
declare const orders: { list(): Promise<void> };
declare function expect(value: unknown): { rejects: { toBeInstanceOf(type: unknown): Promise<void> }; toBe(value: unknown): void; toEqual(value: unknown): void };
declare function Cron(expression: string): MethodDecorator;
declare class ConfigModule {}
declare class ConfigService { get<T>(name: string): T }
declare class Connection { query(text: string): unknown[] }
const { ${driversOf()} } = library;
export { library, Controller, Get, Injectable, Logger, Module, NestFactory, type DynamicModule };
`;

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
      return { name: `${path} ${i + 1}`, code: `${PRELUDE}${app}${asModule(code)}` };
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
