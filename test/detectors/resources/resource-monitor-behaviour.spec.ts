import { Controller, Get, Res } from '@nestjs/common';
import { AsyncResource } from 'node:async_hooks';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AsyncContextError, ContextService, ResourceMonitor } from 'nestjs-async-context';
import { TAKES_REPORTS } from '../../../lib/reporting/report-logger';
import { platforms, startApp, type TestApp, type TestAppOptions, until } from '../../support/platforms';

// The sources import it: what is faked is the global.
vi.mock('node:perf_hooks', async original => ({
  ...(await original<object>()),
  get performance() {
    return globalThis.performance;
  },
}));

const undo: (() => unknown)[] = [];
const tests: TestApp[] = [];
afterEach(async () => {
  for (const each of undo.splice(0)) await each();
  for (const test of tests.splice(0)) await test.close();
});

async function start(options: TestAppOptions = {}) {
  const test = await startApp(options);
  tests.push(test);
  const context = test.app.get(ContextService);
  return {
    test,
    monitor: test.app.get(ResourceMonitor),
    /** Runs some work in a unit of work of its own. */
    run: <T>(handler: string, fn: () => T): T => context.run({ handler }, fn),
    warnings: (): string[] => test.logs.of('warn', 'ResourceMonitor'),
  };
}

function leakInterval(): void {
  const interval = setInterval(() => undefined, 1_000_000);
  undo.push(() => clearInterval(interval));
}

function leakTimeout(ms = 1_000_000): void {
  const timeout = setTimeout(() => undefined, ms);
  undo.push(() => clearTimeout(timeout));
}

/** How often a hook has asked for the type of a timer: once for each that is made. */
function hookCalls(): number {
  let calls = 0;
  class Probe extends AsyncResource {
    constructor() {
      super('Timeout');
    }
    get _repeat(): undefined {
      calls += 1;
      return undefined;
    }
  }
  void new Probe();
  return calls;
}

const bareFile = {
  read: fs.createReadStream,
  write: fs.createWriteStream,
  open: fs.promises.open,
};
const fileMethods = () => ({
  read: fs.createReadStream,
  write: fs.createWriteStream,
  open: fs.promises.open,
});

describe('a warning', () => {
  it('says what is left open since when and where it was made, and what to do', async () => {
    const { run, warnings } = await start({ resourceMonitor: { sample: 1, leakMs: 50 } });
    run('Orders.watch', leakInterval);
    const [line] = await until(() => warnings().length > 0 && warnings(), 'warning');
    expect(line).toMatch(
      /^Orders\.watch left 1 interval open, the oldest for 0(\.\d)? s after its end, created at resource-monitor-behaviour\.spec\.ts:\d+ leakInterval\n/,
    );
    expect(line).toContain(
      '\n  fix     clearInterval(), for example in contextService.onClose(); if all requests share it',
    );
    expect(line).toContain('\n  sampled 100 % of units of work');
    await sleep(100);
    expect(warnings()).toHaveLength(1);
  });

  it('is flat fields in a JSON log', async () => {
    const { run, test } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    run('Orders.watch\nforged', leakInterval);
    const { message, fields } = await until(
      () => test.logs.lines.find(line => line.context === 'ResourceMonitor'),
      'warning',
    );
    expect(fields).toMatchObject({
      type: 'interval',
      count: 1,
      sample: 1,
      handler: 'Orders.watch\nforged',
    });
    for (const value of Object.values(fields!)) expect(typeof value).not.toBe('object');
    expect(message).not.toContain('\nforged');
    expect(message).toContain('\n  fix     clearInterval()');
  });

  it('comes once a minute for a handler, type and line, and then only if there is more', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const { run, monitor, warnings } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
      const leak = async (handler: string, count: number): Promise<void> => {
        run(handler, leakInterval);
        vi.advanceTimersByTime(20);
        await until(
          () => monitor.report().reduce((sum, each) => sum + each.count, 0) === count,
          `${count} leaks`,
        );
        await sleep(50);
      };
      await leak('one', 1);
      await leak('one', 2);
      await leak('two', 3);
      expect(warnings().map(line => line.slice(0, 12))).toEqual(['one left 1 i', 'two left 1 i']);
      vi.advanceTimersByTime(59_900);
      await sleep(50);
      expect(warnings()).toHaveLength(2);
      vi.advanceTimersByTime(100);
      await until(() => warnings().length === 3, 'third warning');
      expect(warnings()[2]).toMatch(/^one left 2 intervals open/);
      // It is left open by more than one unit of work: not made once for all.
      expect(warnings()[2]).not.toContain('If it is one');
      vi.advanceTimersByTime(120_000);
      await sleep(50);
      expect(warnings()).toHaveLength(3);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is none for nine timeouts of a line, which end by themselves, and one for ten', async () => {
    const { run, monitor, warnings } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    for (let i = 0; i < 9; i++) run('Orders.remind', () => leakTimeout(100_000));
    await until(() => monitor.report()[0]?.count === 9, 'nine');
    await sleep(50);
    expect(warnings()).toEqual([]);
    run('Orders.remind', () => leakTimeout(200_000));
    const [line] = await until(() => warnings().length > 0 && warnings(), 'warning');
    expect(line).toMatch(
      /^Orders\.remind left 10 timeouts open, .* after its end, the last due in (199\.\d|200) s, created at/,
    );
  });

  it('is logged outside of the request that has started the monitor', async () => {
    const { run, monitor, test } = await start();
    const context = test.app.get(ContextService);
    const active: boolean[] = [];
    test.logs[TAKES_REPORTS] = () => void active.push(context.isActive);
    run('Admin.start', () => monitor.start({ sample: 1, leakMs: 10 }));
    run('Orders.watch', leakInterval);
    await until(() => active.length > 0, 'warning');
    expect(active).toEqual([false]);
    expect(monitor.report()).toHaveLength(1);
  });
});

describe('what is looked at', () => {
  it('is the share of units of work that is asked for', async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 0.5, leakMs: 1 } });
    for (let i = 0; i < 1_000; i++) run('Orders.watch', leakInterval);
    await sleep(20);
    // Seven standard deviations: once in 10^11 runs.
    expect(monitor.report()[0]!.count).toBeGreaterThan(500 - 111);
    expect(monitor.report()[0]!.count).toBeLessThan(500 + 111);
  });

  it('is no unit of work that was open before the start, nor one that is still open', async () => {
    const { run, monitor } = await start();
    const ends: (() => void)[] = [];
    const work = async (): Promise<void> => {
      leakInterval();
      await new Promise<void>(resolve => ends.push(resolve));
      leakInterval();
    };
    const before = run('before', work);
    monitor.start({ sample: 1, leakMs: 10 });
    const after = run('after', work);
    await sleep(100);
    expect(monitor.report()).toEqual([]);
    for (const end of ends) end();
    await Promise.all([before, after]);
    await until(() => monitor.report()[0]?.count === 2, 'two leaks');
    expect(monitor.report().map(({ handler }) => handler)).toEqual(['after']);
  });

  it('is what is opened after the end as well', async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    run('Orders.late', () => {
      setTimeout(leakInterval, 30);
    });
    await until(() => monitor.report()[0]?.type === 'interval', 'leak');
    expect(monitor.report()).toMatchObject([{ handler: 'Orders.late', type: 'interval', count: 1 }]);
  });

  it('is nothing outside of units of work, and nothing that is exempt', async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    leakInterval();
    run('Cache.refresh', () => monitor.exempt(leakInterval));
    expect(() => run('Cache.fails', () => monitor.exempt(() => JSON.parse('{') as never))).toThrow(
      SyntaxError,
    );
    run('Orders.watch', leakInterval);
    await until(() => monitor.report().length > 0, 'leak');
    expect(monitor.report()).toMatchObject([{ handler: 'Orders.watch', count: 1 }]);
  });

  it('is a socket whose host has several addresses, of which the first does not answer', async () => {
    const server = createServer(socket => socket.on('error', () => undefined));
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    undo.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 300 } });
    const socket = run('Orders.push', () =>
      connect({
        port,
        host: 'two.test',
        autoSelectFamily: true,
        lookup: (_host, _options, done) =>
          (done as (error: null, all: object[]) => void)(null, [
            { address: '::1', family: 6 },
            { address: '127.0.0.1', family: 4 },
          ]),
      }),
    );
    await until(() => monitor.report().length > 0, 'leak');
    expect(socket.remoteAddress).toBe('127.0.0.1');
    expect(monitor.report()).toMatchObject([{ handler: 'Orders.push', type: 'socket', count: 1 }]);
    socket.destroy();
    expect(monitor.report()).toEqual([]);
  });

  it('is an http2 session, as one socket', async () => {
    const server = createHttp2Server();
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    undo.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 50 } });
    const session = run('Orders.push', () => connectHttp2(`http://127.0.0.1:${port}`));
    await until(() => monitor.report().length > 0, 'leak');
    expect(monitor.report()).toMatchObject([{ handler: 'Orders.push', type: 'socket', count: 1 }]);
    await new Promise<void>(resolve => session.close(resolve));
    await until(() => monitor.report().length === 0, 'report without what was closed');
  });

  it("is an interval that was unref'd, and no child process that was", async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    run('Reports.detach', () => {
      const script = 'setInterval(() => undefined, 1000)';
      const child = spawn(process.execPath, ['-e', script], { detached: true, stdio: 'ignore' });
      child.unref();
      undo.push(() => child.kill());
    });
    run('Orders.watch', () => {
      const interval = setInterval(() => undefined, 1_000_000);
      interval.unref();
      undo.push(() => clearInterval(interval));
    });
    await until(() => monitor.report().length > 0, 'leak');
    await sleep(50);
    expect(monitor.report()).toMatchObject([{ handler: 'Orders.watch', type: 'interval', count: 1 }]);
  });

  it('is kept alive by nothing once the application has let go of it', async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 60_000 } });
    const held: WeakRef<object>[] = [];
    for (let i = 0; i < 100; i++) {
      await run('Orders.list', async () => {
        const rows = { i };
        held.push(new WeakRef(rows));
        await new Promise<unknown>(resolve => setTimeout(() => resolve(rows), 1));
        // Still open when the unit of work ends, and looked at; then dropped.
        setTimeout(() => void rows, 20);
      });
    }
    await sleep(1_100);
    expect(monitor.isRunning).toBe(true);
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    await until(() => {
      collect();
      return held.every(reference => reference.deref() === undefined);
    }, 'collection of what was used');
  });

  it("is the application's, and not what a package within its bundle keeps", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'resource-monitor-'));
    undo.push(() => rm(folder, { recursive: true }));
    const map = {
      version: 3,
      sources: ['webpack://shop/./node_modules/@scope/pool/index.js'],
      names: [],
      mappings: 'AAAA',
    };
    const url = `data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}`;
    const file = join(folder, 'main.cjs');
    await writeFile(
      file,
      `module.exports = () => setInterval(() => undefined, 1e6);\n//# sourceMappingURL=${url}`,
    );
    const make = createRequire(file)(file) as () => NodeJS.Timeout;
    const { run, monitor, warnings } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    const interval = run('Orders.list', make);
    undo.push(() => clearInterval(interval));
    await until(() => monitor.kept().length > 0, 'kept');
    expect(monitor.kept()).toMatchObject([
      { handler: 'Orders.list', type: 'interval', keptBy: '@scope/pool' },
    ]);
    expect(monitor.report()).toEqual([]);
    expect(warnings()).toEqual([]);
  });
});

describe('the bounds', () => {
  it.each([
    [
      'units of work',
      (run: (fn: () => void) => void, leak: () => void, times: number) => {
        for (let i = 0; i < times; i++) run(leak);
      },
    ],
    [
      'one unit of work',
      (run: (fn: () => void) => void, leak: () => void, times: number) =>
        run(() => {
          for (let i = 0; i < times; i++) leak();
        }),
    ],
  ])('are 1,000 of a handler, in %s', async (_name, spread) => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 1 } });
    const times = async (handler: string, count: number) => {
      spread(fn => run(handler, fn), leakInterval, count);
      await sleep(20);
      return [monitor.report().find(each => each.handler === handler)!.count, monitor.untracked];
    };
    expect(await times('last accepted', 1_000)).toEqual([1_000, 0]);
    expect(await times('first rejected', 1_001)).toEqual([1_000, 1]);
  });

  it('are 10,000 in all', async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 1 } });
    const leak = (handler: string, count: number): void =>
      run(handler, () => {
        for (let i = 0; i < count; i++) leakInterval();
      });
    for (let i = 0; i < 10; i++) leak(`handler ${i}`, 1_000);
    await sleep(20);
    expect(monitor.untracked).toBe(0);
    leak('one more', 1);
    await sleep(20);
    expect(monitor.untracked).toBe(1);
    expect(monitor.report().reduce((sum, { count }) => sum + count, 0)).toBe(10_000);
    // What is closed makes room.
    undo.pop();
    (undo.shift() as () => void)();
    expect(monitor.report().reduce((sum, { count }) => sum + count, 0)).toBe(9_999);
    leak('another', 1);
    expect(monitor.untracked).toBe(1);
  });

  it('are not filled by what was closed in a long unit of work', async () => {
    const { run, monitor } = await start({ resourceMonitor: { sample: 1, leakMs: 1 } });
    run('Orders.poll', () => {
      for (let i = 0; i < 5_000; i++) clearTimeout(setTimeout(() => undefined, 1_000));
      leakInterval();
    });
    await sleep(20);
    expect(monitor.untracked).toBe(0);
    expect(monitor.report()).toMatchObject([{ type: 'interval', count: 1 }]);
  });
});

describe('a failure within the hook', () => {
  it('is reported once, and does not end the process', async () => {
    class Hostile extends AsyncResource {
      constructor() {
        super('Timeout');
      }
      get _repeat(): never {
        throw new Error('of the application');
      }
    }
    const { run, monitor, test } = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    run('Orders.hostile', () => {
      for (let i = 0; i < 3; i++) void new Hostile();
    });
    run('Orders.watch', leakInterval);
    await until(() => monitor.report().length > 0, 'leak');
    const hookErrors = (): string[] =>
      test.logs.of('warn', 'AsyncContext').filter(line => line.startsWith('resource monitor failed'));
    await until(() => hookErrors().length > 0, 'fault');
    expect(hookErrors()).toHaveLength(1);
    expect(hookErrors()[0]).toContain('ignored: Error at resource-monitor-behaviour.spec.ts:');
  });
});

describe('starting and stopping', () => {
  it('is off by default: no hook, nothing replaced, nothing found', async () => {
    const { run, monitor } = await start();
    expect(monitor.isRunning).toBe(false);
    expect(hookCalls()).toBe(0);
    expect(fileMethods()).toEqual(bareFile);
    run('Orders.watch', leakInterval);
    expect([monitor.report(), monitor.kept(), monitor.untracked]).toEqual([[], [], 0]);
    monitor.stop();
    expect(monitor.isRunning).toBe(false);
  });

  it('takes all back at once, also when it was started twice, and may be stopped twice', async () => {
    const { run, monitor, warnings } = await start();
    monitor.start({ sample: 1, leakMs: 20 });
    expect(hookCalls()).toBe(1);
    expect(fileMethods().read).not.toBe(bareFile.read);
    run('first', leakInterval);
    await until(() => monitor.report().length === 1, 'leak');
    monitor.start({ sample: 1, leakMs: 10 });
    expect([monitor.isRunning, monitor.report()]).toEqual([true, []]);
    expect(hookCalls()).toBe(1);
    run('second', leakInterval);
    await until(() => monitor.report().length === 1, 'leak');
    expect(monitor.report()[0]!.handler).toBe('second');

    const before = warnings().length;
    monitor.stop();
    monitor.stop();
    expect([monitor.isRunning, monitor.report(), hookCalls()]).toEqual([false, [], 0]);
    expect(fileMethods()).toEqual(bareFile);
    await sleep(50);
    expect(warnings()).toHaveLength(before);
  });

  it('ends with a unit of work that is open, which then closes', async () => {
    const { run, monitor } = await start();
    monitor.start({ sample: 1, leakMs: 1 });
    let end: (() => void) | undefined;
    const work = run('Orders.watch', async () => {
      leakInterval();
      await new Promise<void>(resolve => (end = resolve));
      leakInterval();
    });
    monitor.start({ sample: 1, leakMs: 1 });
    end!();
    await work;
    await sleep(30);
    expect(monitor.report()).toEqual([]);
  });

  it('is one hook for two applications, until the last of them stops', async () => {
    const one = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    const two = await start({ resourceMonitor: { sample: 1, leakMs: 10 } });
    expect(hookCalls()).toBe(1);
    one.run('One.leak', leakInterval);
    two.run('Two.leak', leakInterval);
    await until(() => one.monitor.report().length === 1 && two.monitor.report().length === 1, 'leaks');
    expect(one.monitor.report()[0]!.handler).toBe('One.leak');
    expect(two.monitor.report()[0]!.handler).toBe('Two.leak');
    one.monitor.stop();
    expect(hookCalls()).toBe(1);
    expect(two.monitor.report()).toHaveLength(1);
    two.monitor.stop();
    expect([hookCalls(), fileMethods()]).toEqual([0, bareFile]);
  });

  it('ends with the application, which starts no more', async () => {
    const { test, monitor } = await start({ resourceMonitor: {} });
    expect([monitor.isRunning, hookCalls()]).toEqual([true, 1]);
    await test.close();
    expect([monitor.isRunning, hookCalls(), fileMethods()]).toEqual([false, 0, bareFile]);
    monitor.start();
    expect([monitor.isRunning, hookCalls()]).toEqual([false, 0]);
  });
});

describe('an option', () => {
  const accepted = [
    {},
    { sample: Number.MIN_VALUE },
    { sample: 1 },
    { leakMs: 1 },
    { leakMs: 2_147_483_647 },
  ];
  it.each(accepted)('may be %o', async options => {
    const { monitor } = await start({ resourceMonitor: options });
    expect(monitor.isRunning).toBe(true);
  });

  const rejected: [string, unknown][] = [
    ['sample', 0],
    ['sample', 1.000_001],
    ['sample', Number.NaN],
    ['sample', '0.1'],
    ['leakMs', 0],
    ['leakMs', 2_147_483_648],
    ['leakMs', 1.5],
    ['leakms', 5_000],
  ];
  it.each(rejected)('may not be %s: %s', async (name, value) => {
    const options = { [name]: value } as object;
    const { monitor } = await start();
    for (const [call, wrong] of [
      ['ResourceMonitor.start({ ', () => monitor.start(options)],
      ['AsyncContextModule.forRoot({ resourceMonitor.', () => startApp({ resourceMonitor: options })],
    ] as const) {
      const error: unknown = await Promise.resolve()
        .then((): unknown => wrong())
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(AsyncContextError);
      expect((error as AsyncContextError).code).toBe('ASYNC_CONTEXT_INVALID_OPTION');
      expect((error as AsyncContextError).message).toContain(`${call}${name} }) is`);
    }
    expect(monitor.isRunning).toBe(false);
  });
});

@Controller()
class BrokenController {
  @Get('fails')
  fails(): never {
    leakInterval();
    throw new Error('no');
  }

  @Get('left')
  left(@Res() response: unknown): void {
    const raw = ((response as { raw?: NodeJS.WritableStream }).raw ?? response) as NodeJS.WritableStream;
    // Endless, so that the client leaves first: `pipe()` does not destroy its source.
    const stream = fs.createReadStream('/dev/zero');
    undo.push(() => stream.destroy());
    stream.pipe(raw);
  }
}

describe.each(platforms)('a request on %s', platform => {
  it('that fails is looked at', async () => {
    const { test, monitor } = await start({
      platform,
      controllers: [BrokenController],
      resourceMonitor: { sample: 1, leakMs: 10 },
    });
    expect((await fetch(`${test.url}/fails`)).status).toBe(500);
    await until(() => monitor.report().length > 0, 'leak');
    expect(monitor.report()[0]).toMatchObject({ handler: 'BrokenController.fails', type: 'interval' });
  });

  it.skipIf(process.platform === 'win32')('that its client leaves is looked at', async () => {
    const { test, monitor } = await start({
      platform,
      controllers: [BrokenController],
      resourceMonitor: { sample: 1, leakMs: 10 },
    });
    const client = connect(Number(new URL(test.url).port), '127.0.0.1');
    client.write('GET /left HTTP/1.1\r\nHost: test\r\n\r\n');
    await once(client, 'data');
    expect(monitor.report()).toEqual([]);
    client.destroy();
    await until(() => monitor.report().length > 0, 'leak');
    expect(monitor.report()[0]).toMatchObject({ handler: 'BrokenController.left', type: 'read-stream' });
  });
});
