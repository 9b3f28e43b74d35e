// A program of its own: what is done to its process must not be done to that of vitest.
import 'reflect-metadata';
import { Controller, Get, type LoggerService, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { pbkdf2Sync } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { loopMonitor } from '../../../../lib/detectors/stalls/loop-monitor';
import { AsyncContextModule, type AsyncContextOptions, MemorySink } from '../../../../lib/index';

/** What a test wants the program to be. */
export interface WatchedApp {
  readonly options?: AsyncContextOptions;
}

/** What it tells of a record. */
export interface SaidRecord {
  readonly handler?: string;
  readonly blockedMs?: number;
  readonly time: Readonly<Record<string, number>>;
}

/** What it prints, a line each. */
export type Said =
  | { readonly url: string }
  | { readonly level: string; readonly context: string; readonly text: string }
  | { readonly records: readonly SaidRecord[] }
  | { readonly asleep: true };

const settings = JSON.parse(process.argv[2] ?? '{}') as WatchedApp;
const say = (said: Said): void => void process.stdout.write(`${JSON.stringify(said)}\n`);
const logger = Object.fromEntries(
  ['log', 'warn', 'error', 'debug', 'verbose', 'fatal'].map(level => [
    level,
    (message: unknown, ...rest: unknown[]) =>
      say({ level, context: String(rest.at(-1) ?? ''), text: String(message) }),
  ]),
) as unknown as LoggerService;
const sink = new MemorySink();
// Node tells of each worker that is made: https://nodejs.org/docs/latest-v20.x/api/process.html#event-worker
let worker: Worker | undefined;
const watched = new Promise<void>(resolve => {
  process.once('worker', made => (worker = made).once('online', resolve));
});

function spin(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

let waits = 0;

@Controller()
class Reports {
  @Get('spin/:ms')
  spin(@Param('ms') ms: string) {
    spin(Number(ms));
    return 'spun';
  }

  /** Milliseconds of the processor, however long they take. */
  @Get('compute/:ms')
  compute(@Param('ms') ms: string) {
    const before = process.cpuUsage();
    for (;;) {
      const { user, system } = process.cpuUsage(before);
      if (user + system >= Number(ms) * 1_000) return 'computed';
    }
  }

  @Get('hold/:ms')
  hold(@Param('ms') ms: string) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(ms));
    return 'held';
  }

  @Get('hash/:rounds')
  hash(@Param('rounds') rounds: string) {
    return pbkdf2Sync('secret', 'salt', Number(rounds), 64, 'sha512').toString('hex');
  }

  @Get('match/:letters')
  match(@Param('letters') letters: string) {
    return String(/^(?:a+)+$/.test(`${'a'.repeat(Number(letters))}!`));
  }

  @Get('wait/:ms')
  async wait(@Param('ms') ms: string) {
    waits += 1;
    await sleep(Number(ms));
    return 'waited';
  }

  /** How many requests to `wait` there were. */
  @Get('waits')
  waits() {
    return String(waits);
  }

  @Get('exit/:ms')
  exit(@Param('ms') ms: string) {
    spin(Number(ms));
    process.exit(7);
  }

  @Get('kill/:ms')
  async kill(@Param('ms') ms: string) {
    spin(Number(ms));
    await worker!.terminate();
    return 'killed';
  }

  @Get('inspect')
  async inspect() {
    const inspector = process.getBuiltinModule('node:inspector');
    inspector.open(0, '127.0.0.1');
    await sleep(1_500);
    return inspector.url() === undefined ? 'closed' : 'open';
  }
}

/** Until nothing is watched, and for some ticks more of the thread, which sees it at its next one. */
async function fallsAsleep(): Promise<void> {
  while (loopMonitor().isAwake) await sleep(10);
  await sleep(100);
}

@Module({
  imports: [
    AsyncContextModule.forRoot({
      warmUpMs: 0,
      ...settings.options,
      sinks: [sink],
      sinkQueue: { intervalMs: 20 },
    }),
  ],
  controllers: [Reports],
})
class AppModule {}

void (async () => {
  const app = await NestFactory.create(AppModule, new FastifyAdapter() as never, { logger });
  await app.listen(0, '127.0.0.1');
  process.on('message', command => {
    if (command === 'records') return say({ records: sink.records as never });
    if (command === 'sleep') return void fallsAsleep().then(() => say({ asleep: true }));
    // From here on nothing of ours may keep the process.
    if (command === 'close') void app.close().then(() => process.disconnect());
    else app.getHttpServer().close(() => process.disconnect());
  });
  // It starts a second after the application.
  if (settings.options?.stallMs !== 0) await watched;
  await sleep(500);
  say({ url: `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}` });
})();
