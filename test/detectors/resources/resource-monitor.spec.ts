import { Controller, Get, type Type } from '@nestjs/common';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createReadStream, createWriteStream, watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ResourceLeak, ResourceMonitor, type ResourceType } from 'nestjs-async-context';
import { callSiteOf, captureStack } from '../../../lib/kernel/call-site';
import { platforms, startApp, type TestApp, until } from '../../support/platforms';

const FILE = 'resource-monitor.spec.ts';
/** What undoes each leak. */
const undo: (() => unknown)[] = [];
let test: TestApp;
let server: Server;

beforeAll(async () => {
  server = createServer(socket => socket.on('error', () => undefined));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => server.close());
afterEach(async () => {
  for (const each of undo.splice(0)) await each();
  await test?.close();
});

const portOf = (): number => (server.address() as AddressInfo).port;

/** The line that a resource is made at: the one after the call. */
const lines: Record<string, number> = {};
function here(type: string): void {
  const { sourceLine, line } = callSiteOf(captureStack(here))!;
  lines[type] = (sourceLine ?? line) + 1;
}

@Controller()
class LeakController {
  @Get('interval')
  interval(): string {
    here('interval');
    const interval = setInterval(() => undefined, 60_000);
    undo.push(() => clearInterval(interval));
    return 'done';
  }

  @Get('timeout')
  timeout(): string {
    here('timeout');
    const timeout = setTimeout(() => undefined, 60_000);
    undo.push(() => clearTimeout(timeout));
    return 'done';
  }

  @Get('socket')
  async socket(): Promise<string> {
    await sleep(1);
    here('socket');
    const socket = connect(portOf(), '127.0.0.1');
    undo.push(() => socket.destroy());
    return 'done';
  }

  @Get('server')
  server(): string {
    here('server');
    const own = createServer().listen(0);
    undo.push(() => own.close());
    return 'done';
  }

  @Get('udp-socket')
  udp(): string {
    here('udp-socket');
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    undo.push(() => socket.close());
    return 'done';
  }

  @Get('file-handle')
  async fileHandle(): Promise<string> {
    here('file-handle');
    const handle = await open(import.meta.filename);
    undo.push(() => handle.close());
    return 'done';
  }

  @Get('read-stream')
  readStream(): string {
    here('read-stream');
    const stream = createReadStream(import.meta.filename);
    undo.push(() => stream.destroy());
    return 'done';
  }

  @Get('write-stream')
  writeStream(): string {
    here('write-stream');
    const stream = createWriteStream(join(tmpdir(), `resource-monitor-${process.pid}`));
    undo.push(() => stream.destroy());
    return 'done';
  }

  @Get('child-process')
  childProcess(): string {
    here('child-process');
    const child = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], { stdio: 'ignore' });
    undo.push(() => child.kill());
    return 'done';
  }

  @Get('file-watcher')
  watcher(): string {
    here('file-watcher');
    const watcher = watch(import.meta.dirname);
    undo.push(() => watcher.close());
    return 'done';
  }

  @Get('worker')
  worker(): string {
    here('worker');
    const worker = new Worker('setInterval(() => undefined, 1000)', { eval: true });
    undo.push(() => worker.terminate());
    return 'done';
  }
}

const METHODS: Record<ResourceType, string> = {
  interval: 'interval',
  timeout: 'timeout',
  socket: 'socket',
  server: 'server',
  'udp-socket': 'udp',
  'file-handle': 'fileHandle',
  'read-stream': 'readStream',
  'write-stream': 'writeStream',
  'child-process': 'childProcess',
  'file-watcher': 'watcher',
  worker: 'worker',
};
const TYPES = Object.keys(METHODS) as ResourceType[];

async function start(platform: (typeof platforms)[number], controllers: Type[] = [LeakController]) {
  test = await startApp({ platform, controllers, resourceMonitor: { sample: 1, leakMs: 50 } });
  return test.app.get(ResourceMonitor);
}

describe.each(platforms)('what a handler leaves open on %s', platform => {
  it.each(TYPES)('is reported with handler, type and line: %s', async type => {
    const monitor = await start(platform);
    expect(monitor.isRunning).toBe(true);
    for (let i = 0; i < 3; i++) expect(await (await fetch(`${test.url}/${type}`)).text()).toBe('done');
    const [leak] = await until(
      () => (monitor.report()[0]?.count === 3 ? monitor.report() : undefined),
      `three of ${type} in ${JSON.stringify(monitor.report())}`,
    );
    const callSite = `${FILE}:${lines[type]} ${METHODS[type]}`;
    expect(leak).toEqual({
      handler: `LeakController.${METHODS[type]}`,
      type,
      callSite,
      count: 3,
      oldestMs: expect.any(Number) as number,
      keptBy: undefined,
    } satisfies ResourceLeak);
    expect(leak!.oldestMs).toBeGreaterThanOrEqual(50);
    expect(monitor.report()).toHaveLength(1);

    for (const each of undo.splice(0)) await each();
    await until(() => monitor.report().length === 0, 'report without what was closed');
  });
});
