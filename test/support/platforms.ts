import type {
  DynamicModule,
  INestApplication,
  LoggerService,
  ModuleMetadata,
  NestApplicationOptions,
  Type,
} from '@nestjs/common';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import type { AddressInfo } from 'node:net';
import {
  type AsyncContextOptions,
  AsyncContextModule,
  type CostRecord,
  MemorySink,
} from 'nestjs-async-context';
import { TAKES_REPORTS, type TakesReports } from '../../lib/reporting/report-logger';
import type { Report } from '../../lib/reporting/report-text';

export const platforms = ['express', 'fastify'] as const;
export type Platform = (typeof platforms)[number];

export interface TestApp {
  readonly app: INestApplication;
  readonly url: string;
  readonly sink: MemorySink;
  readonly logs: LogLines;
  /** Waits until as many records were written, and gives all. */
  records(count: number): Promise<readonly CostRecord[]>;
  close(): Promise<void>;
}

export interface TestAppOptions extends AsyncContextOptions {
  readonly platform?: Platform;
  readonly made?: 'factory' | 'testing';
  readonly imports?: ModuleMetadata['imports'];
  readonly controllers?: Type[];
  readonly providers?: ModuleMetadata['providers'];
  readonly nest?: NestApplicationOptions;
  readonly module?: DynamicModule;
  readonly configure?: (app: INestApplication) => void | Promise<void>;
}

/** Keeps what Nest's logger is given: of a report the text, and the fields beside it. */
export class LogLines implements LoggerService, TakesReports {
  readonly lines: { level: string; message: unknown; context: string; fields?: Report['fields'] }[] = [];

  log = this.#keep('log');
  warn = this.#keep('warn');
  error = this.#keep('error');
  debug = this.#keep('debug');
  verbose = this.#keep('verbose');
  fatal = this.#keep('fatal');

  /** The lines of one level and logger, as text. */
  of(level: string, context: string): string[] {
    return this.lines
      .filter(line => line.level === level && line.context === context)
      .map(line => String(line.message));
  }

  [TAKES_REPORTS](level: string, { text, fields }: Report, context: string): void {
    this.lines.push({ level, message: text, context, fields });
  }

  #keep(level: string) {
    return (message: unknown, ...rest: unknown[]): void => {
      this.lines.push({ level, message, context: String(rest.at(-1) ?? '') });
    };
  }
}

/** A real application on a real socket. */
export async function startApp(options: TestAppOptions): Promise<TestApp> {
  const {
    platform = 'express',
    made = 'factory',
    imports = [],
    controllers = [],
    providers = [],
    nest,
    module,
    configure,
    ...context
  } = options;
  const sink = new MemorySink({ capacity: 100_000 });
  const logs = new LogLines();
  const root =
    module ??
    AsyncContextModule.forRoot({
      warmUpMs: 0,
      ...context,
      sinks: [sink, ...(context.sinks ?? [])],
      sinkQueue: { intervalMs: 20, capacity: 100_000, ...context.sinkQueue },
    });

  @Module({ imports: [root, ...imports], controllers, providers })
  class AppModule {}

  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const settings = { logger: logs, forceCloseConnections: true, ...nest };
  const app =
    made === 'factory'
      ? await NestFactory.create(AppModule, adapter as never, { ...settings, abortOnError: false })
      : (await Test.createTestingModule({ imports: [AppModule] }).compile()).createNestApplication(
          adapter as never,
          settings,
        );
  await configure?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return {
    app,
    url: `http://127.0.0.1:${port}`,
    sink,
    logs,
    records: count =>
      until(() => (sink.records.length >= count ? sink.records : undefined), `${count} records`),
    close: () => app.close(),
  };
}

/** Asks again until there is an answer; fails after a minute with what was waited for. */
export async function until<T>(ask: () => T | undefined | false, what: string): Promise<T> {
  const end = performance.now() + 60_000;
  for (;;) {
    const answer = ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`no ${what} within a minute`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}
