import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it as test } from 'vitest';
import { type Child, Programs } from '../../../support/child';
import type { Said, SaidRecord, WatchedApp } from './app';

const PROGRAM = 'test/detectors/stalls/watchdog/app.ts';
const isLinux = process.platform === 'linux';
/** Puts a process on one core with eight others that want all of it. They end by themselves. */
function crowd(pid: number): ChildProcess[] {
  const [core] = /(?<=^Cpus_allowed_list:\t)\d+/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
  execFileSync('taskset', ['-acp', core, String(pid)]);
  const busy = 'const end = Date.now() + 40_000; while (Date.now() < end);';
  return Array.from({ length: 8 }, () =>
    spawn('taskset', ['-c', core, process.execPath, '-e', busy], { stdio: 'ignore' }),
  );
}

let programs: Programs;
beforeAll(() => {
  programs = new Programs(PROGRAM);
});
afterAll(() => programs.remove());

/** The application in a process of its own. */
class Watched {
  constructor(
    readonly child: Child<Said>,
    readonly url: string,
  ) {}

  async get(path: string): Promise<string> {
    return (await fetch(this.url + path)).text();
  }

  lines(context: string): (Said & { text: string })[] {
    return this.child.said.filter(
      (said): said is Said & { text: string } => 'context' in said && said.context === context,
    );
  }

  /** Without what says that the machine was too busy, which may come at any time. */
  get blames(): string[] {
    return this.lines('EventLoop').flatMap(({ text }) => (text.includes(' blocked ') ? [text] : []));
  }

  /** Stalls it until that is said, which a machine that keeps the thread waiting may need several for. */
  async stallUntilBlamed(path: string, before: () => unknown = () => undefined): Promise<string> {
    const handler = `Reports.${path.split('/')[1]!} blocked the event loop for `;
    for (let attempt = 1; attempt <= 30; attempt += 1) {
      await before();
      await this.get(path);
      // What is said comes another way than the answer.
      for (let look = 0; look < 50; look += 1) {
        const line = this.blames.find(text => text.startsWith(handler));
        if (line !== undefined) return line;
        await sleep(10);
      }
    }
    throw new Error(`nobody said that ${handler}`);
  }

  async recordsOf(handler: string): Promise<readonly SaidRecord[]> {
    for (;;) {
      this.child.send('records');
      await sleep(50);
      const last = this.child.said.findLast(said => 'records' in said);
      const found = last?.records.filter(record => record.handler === handler) ?? [];
      if (found.length > 0) return found;
    }
  }

  /** Waits until it is idle for so long that nothing is watched. */
  async fallsAsleep(): Promise<void> {
    const isSaid = (): number => this.child.said.filter(said => 'asleep' in said).length;
    const before = isSaid();
    this.child.send('sleep');
    await this.child.hears('sleep', (_said): _said is Said => isSaid() > before);
  }

  /** Stops the process for two seconds. */
  async suspend(): Promise<void> {
    process.kill(this.child.pid, 'SIGSTOP');
    await sleep(2_000);
    process.kill(this.child.pid, 'SIGCONT');
  }
}

interface Starts {
  start(settings?: WatchedApp, nodeArgs?: readonly string[]): Promise<Watched>;
}
const it = test.extend<Starts>({
  start: async ({ task: _task }, use) => {
    const children: Child<Said>[] = [];
    await use(async (settings = {}, nodeArgs = []) => {
      const child = programs.start<Said>(PROGRAM, settings, nodeArgs);
      children.push(child);
      const { url } = await child.hears('address', (said): said is Said & { url: string } => 'url' in said);
      return new Watched(child, url);
    });
    await Promise.all(children.map(child => child.stop()));
  },
});

// Each starts a process, which takes seconds on a busy machine, and then mostly waits.
describe.concurrent('the watchdog of the event loop', () => {
  it('reports a stall of 5 s once, with the handler, the line, and who waited', async ({ start }) => {
    const app = await start({ options: { slowAfterMs: 0 } });
    const waiting = Promise.all(Array.from({ length: 100 }, () => app.get('/wait/6000')));
    while ((await app.get('/waits')) !== '100') await sleep(20);
    // A handler is looked at once a minute, whoever is not known again after a second.
    await app.get('/spin/5000');
    await waiting;

    expect(app.blames).toHaveLength(1);
    expect(app.blames[0]).toMatch(
      /^Reports\.spin blocked the event loop for [\d,.]+ ms at app\.ts:50 spin {4}req \S+\n/,
    );
    expect(app.blames[0]).toContain('100 other requests, jobs or messages');
    const [{ time } = { time: {} }] = await app.recordsOf('Reports.wait');
    // On a busy machine others had a part of it.
    expect(time['stalledMs']! + time['starvedMs']!).toBeGreaterThan(4_000);
  });

  it('reports a stall after it has slept, again and again', async ({ start }) => {
    const app = await start();
    for (const path of ['/compute/700', '/hold/700']) {
      await app.stallUntilBlamed(path, () => app.fallsAsleep());
    }
    // That it has slept is no suspension, which would be taken from the block.
    const blockedMs = async (handler: string): Promise<number> =>
      Math.max(...(await app.recordsOf(handler)).map(record => record.blockedMs ?? 0));
    expect(await blockedMs('Reports.compute')).toBeGreaterThan(600);
    expect(await blockedMs('Reports.hold')).toBeGreaterThan(300);
  });

  it.runIf(isLinux).for([
    ['after it has slept', true, true],
    ['while it sleeps', true, false],
    ['without having slept', false, true],
  ] as const)(
    'says nothing of a process that is suspended: %s',
    async ([, hasSlept, isWorking], { start }) => {
      const app = await start();
      if (hasSlept) await app.fallsAsleep();
      const work = (): Promise<unknown> => Promise.all([app.get('/spin/100'), app.get('/wait/600')]);
      const working = isWorking ? work() : undefined;
      if (isWorking) await sleep(50);
      await app.suspend();
      await (working ?? work());
      await sleep(300);

      expect(app.blames).toEqual([]);
      const [{ blockedMs = 0 } = {}] = await app.recordsOf('Reports.spin');
      expect(blockedMs).toBeLessThan(1_000);
      expect((await app.recordsOf('Reports.wait'))[0]!.time['stalledMs']).toBeLessThan(1_000);
    },
  );

  it.for([
    ['close', 'awake'],
    ['close', 'asleep'],
    ['leave', 'awake'],
    ['leave', 'asleep'],
  ] as const)('does not keep the process: %s, %s', async ([command, state], { start }) => {
    const app = await start();
    await app.get('/wait/1');
    if (state === 'asleep') await app.fallsAsleep();
    app.child.send(command);
    expect(await app.child.exited).toBe(0);
  });

  it('blames a handler that waits synchronously', async ({ start }) => {
    const app = await start();
    const line = await app.stallUntilBlamed('/hold/600');

    expect(line).toMatch(/^Reports\.hold blocked the event loop for [\d.]+ ms/);
    expect(line).toMatch(
      /\n {2}cpu +used for at most [\d.]+ ms; the rest was spent waiting in a synchronous call/,
    );
    const level = app
      .lines('EventLoop')
      .flatMap(said => ('level' in said && said.text === line ? [said.level] : []));
    // Elsewhere nobody says that the machine did not take the processor.
    expect(level).toEqual([isLinux ? 'error' : 'warn']);
    if (!isLinux) return;
    const blockedMs = (await app.recordsOf('Reports.hold')).map(record => record.blockedMs ?? 0);
    expect(Math.max(...blockedMs)).toBeGreaterThan(300);
  });

  it.for([
    ['', 0],
    [', in the middle of a look', 250],
  ] as const)('serves on when its thread is killed%s, and says so', async ([, ms], { start }) => {
    const app = await start();
    expect(await app.get(`/kill/${ms}`)).toBe('killed');
    await app.child.hears(
      'warning',
      (said): said is Said => 'text' in said && said.text.includes('event loop watchdog'),
    );
    expect(await app.get('/compute/600')).toBe('computed');
    const [{ blockedMs } = {}] = await app.recordsOf('Reports.compute');
    expect(blockedMs).toBeGreaterThan(500);
  });

  it('does not hold a process that is inspected', async ({ start }) => {
    const app = await start({}, ['--inspect=127.0.0.1:0']);
    expect(await app.get('/compute/600')).toBe('computed');
    expect(await app.get('/wait/1')).toBe('waited');
    expect(app.blames).toEqual([]);
  });

  it('has the fix of what was called', async ({ start }) => {
    const app = await start();
    expect(await app.stallUntilBlamed('/hash/2000000')).toMatch(
      /\n {2}fix +use pbkdf2\(\) instead of pbkdf2Sync\(\), or call it in a worker thread/,
    );
    expect(await app.stallUntilBlamed('/match/25')).toMatch(
      /\n {2}fix +rewrite the regular expression so that it does not backtrack/,
    );
  });

  it('serves with --inspect-port=0', async ({ start }) => {
    const app = await start({}, ['--inspect-port=0']);
    await app.stallUntilBlamed('/compute/600');
    expect(await app.get('/wait/1')).toBe('waited');
    expect(app.blames).toHaveLength(1);
  });

  it('leaves the main thread alone from when an inspector is opened', async ({ start }) => {
    const app = await start();
    expect(await app.get('/inspect')).toBe('open');
    expect(await app.get('/compute/600')).toBe('computed');
    await sleep(100);
    expect(app.blames).toEqual([]);
  });

  it.for([230, 250, 260])(
    'does not keep back process.exit(), also while it looks: %d ms',
    async (ms, { start }) => {
      const app = await start();
      await expect(app.get(`/exit/${ms}`)).rejects.toThrow();
      expect(await app.child.exited).toBe(7);
    },
  );

  it('is not there with stallMs: 0', async ({ start }) => {
    const app = await start({ options: { stallMs: 0 } });
    await app.get('/compute/600');
    await sleep(100);
    expect(app.blames).toEqual([]);
    const [{ blockedMs } = {}] = await app.recordsOf('Reports.compute');
    expect(blockedMs).toBeGreaterThan(500);
  });
});

describe.runIf(isLinux)('the watchdog of the event loop, on a core that others want', () => {
  it('blames no handler when other processes have the processor', async ({ start }) => {
    const app = await start();
    await app.get('/compute/20');
    const others = crowd(app.child.pid);
    try {
      const before = app.lines('EventLoop').length;
      // What makes 60 ms of work a stall: the others, each with as much of the processor.
      for (let i = 0; i < 5; i += 1) await app.get('/compute/60');
      await sleep(1_000);
      const lines = app.lines('EventLoop');
      expect(lines[before]).toMatchObject({ level: 'warn' });
      expect(lines).toHaveLength(1);
      expect(lines[0]!.text).toMatch(
        /^Other processes used the CPU for [\d,.]+ of the [\d,.]+ ms in which the event loop did not run/,
      );
      const records = await app.recordsOf('Reports.compute');
      expect(Math.max(...records.map(({ time }) => time['starvedMs']!))).toBeGreaterThan(100);
      // 60 ms of it, and a little for what the scheduler counts late.
      expect(Math.max(...records.map(({ blockedMs = 0 }) => blockedMs))).toBeLessThan(200);
    } finally {
      for (const other of others) other.kill('SIGKILL');
    }
  });
});
