import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Child, Programs } from '../../support/child';
import type { Said, SaidRecord, WatchedApp } from './app';

const PROGRAM = 'test/diagnosis/watchdog/app.ts';
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

// Each starts a process, which takes seconds on a busy machine.
describe('the watchdog of the event loop', () => {
  let child: Child<Said>;
  let url: string;

  async function start(settings: WatchedApp = {}, nodeArgs: readonly string[] = []): Promise<void> {
    child = programs.start(PROGRAM, settings, nodeArgs);
    ({ url } = await child.hears('address', (said): said is Said & { url: string } => 'url' in said));
  }
  afterEach(() => child.stop());

  const get = async (path: string): Promise<string> => (await fetch(url + path)).text();
  const lines = (context: string): string[] =>
    child.said.flatMap(said => ('context' in said && said.context === context ? [said.text] : []));
  /** Without what says that the machine was too busy, which may come at any time. */
  const blames = (): string[] => lines('EventLoop').filter(line => line.includes(' blocked '));
  async function recordsOf(handler: string): Promise<readonly SaidRecord[]> {
    for (;;) {
      child.send('records');
      await sleep(50);
      const last = child.said.findLast(said => 'records' in said);
      const found = last?.records.filter(record => record.handler === handler) ?? [];
      if (found.length > 0) return found;
    }
  }
  const recordOf = async (handler: string): Promise<SaidRecord> => (await recordsOf(handler))[0]!;

  it('reports a stall of 20 s once, with the handler, the line, and who waited', async () => {
    await start({ options: { slowAfterMs: 0 } });
    const waiting = Promise.all(Array.from({ length: 100 }, () => get('/wait/21000')));
    await sleep(500);
    await get('/spin/20000');
    await waiting;

    expect(blames()).toHaveLength(1);
    expect(blames()[0]).toMatch(/^Reports\.spin blocked the event loop for [\d,.]+ ms at app\.ts:47 spin\n/);
    expect(blames()[0]).toContain('100 other requests, jobs or messages');
    const { time } = await recordOf('Reports.wait');
    // On a busy machine others had a part of it.
    expect(time['stalledMs']! + time['starvedMs']!).toBeGreaterThan(18_000);
  });

  /** Longer than it takes to be quiet. */
  const fallsAsleep = (): Promise<unknown> => sleep(2_500);

  it('reports a stall after it has slept, again and again', async () => {
    await start();
    // So long that a thread which the machine keeps waiting looks again.
    for (const path of ['/spin/3000', '/compute/3000']) {
      await fallsAsleep();
      const before = blames().length;
      await get(path);
      await child.hears('stall', (_said): _said is Said => blames().length > before);
      const handler = path === '/spin/3000' ? 'spin' : 'compute';
      expect(blames()[before]).toMatch(new RegExp(`^Reports\\.${handler} blocked the event loop for `));
    }
    // That it has slept is no suspension, which would be taken from the block.
    expect((await recordOf('Reports.compute')).blockedMs).toBeGreaterThan(700);
  });

  it.runIf(isLinux)('tells a suspension from a stall after it has slept', async () => {
    await start();
    for (const suspendedAsleep of [true, false]) {
      await fallsAsleep();
      const working = suspendedAsleep ? [] : [get('/spin/100'), get('/wait/600')];
      if (!suspendedAsleep) await sleep(50);
      process.kill(child.pid, 'SIGSTOP');
      await sleep(2_000);
      process.kill(child.pid, 'SIGCONT');
      await Promise.all(suspendedAsleep ? [get('/spin/100'), get('/wait/600')] : working);
    }
    await sleep(300);

    expect(blames()).toEqual([]);
    for (const { blockedMs = 0 } of await recordsOf('Reports.spin')) expect(blockedMs).toBeLessThan(1_000);
    for (const { time } of await recordsOf('Reports.wait')) expect(time['stalledMs']).toBeLessThan(1_000);
  });

  it.each(['close', 'leave'])('does not keep the process, asleep or not: %s', async command => {
    for (const isAsleep of [false, true]) {
      await start();
      await get('/wait/1');
      if (isAsleep) await fallsAsleep();
      child.send(command);
      expect(await child.exited).toBe(0);
    }
  });

  it.runIf(isLinux)('says nothing of a process that is suspended', async () => {
    await start();
    const spinning = get('/spin/100');
    const waiting = get('/wait/600');
    await sleep(50);
    process.kill(child.pid, 'SIGSTOP');
    await sleep(2_000);
    process.kill(child.pid, 'SIGCONT');
    await Promise.all([spinning, waiting]);
    await sleep(300);

    expect(blames()).toEqual([]);
    const { blockedMs = 0 } = await recordOf('Reports.spin');
    expect(blockedMs).toBeLessThan(1_000);
    expect((await recordOf('Reports.wait')).time['stalledMs']).toBeLessThan(1_000);
  });

  it.runIf(isLinux)('blames no handler when other processes have the processor', async () => {
    await start();
    await get('/compute/20');
    const others = crowd(child.pid);
    try {
      const before = child.said.length;
      // What makes 60 ms of work a stall: the others, each with as much of the processor.
      for (let i = 0; i < 5; i += 1) await get('/compute/60');
      await sleep(1_000);
      const [line] = child.said.slice(before).filter(said => 'text' in said && said.context === 'EventLoop');
      expect(line).toMatchObject({ level: 'warn' });
      expect(lines('EventLoop')).toHaveLength(1);
      expect(lines('EventLoop')[0]).toMatch(
        /^Other processes had the CPU for [\d,.]+ of the [\d,.]+ ms in which the event loop stood still/,
      );
      const records = await recordsOf('Reports.compute');
      expect(Math.max(...records.map(({ time }) => time['starvedMs']!))).toBeGreaterThan(100);
      // 60 ms of it, and a little for what the scheduler counts late.
      expect(Math.max(...records.map(({ blockedMs = 0 }) => blockedMs))).toBeLessThan(200);
    } finally {
      for (const other of others) other.kill('SIGKILL');
    }
  });

  it('blames a handler that waits synchronously', async () => {
    await start();
    await get('/hold/600');
    await child.hears('stall', (said): said is Said => 'text' in said && said.text.includes(' blocked '));

    const [line] = blames();
    expect(line).toMatch(/^Reports\.hold blocked the event loop for [\d.]+ ms/);
    expect(line).toMatch(
      /\n {2}cpu {7}used for at most [\d.]+ ms; the rest was waiting, in a synchronous call/,
    );
    const level = child.said.flatMap(said =>
      'text' in said && said.text.includes(' blocked ') ? [said.level] : [],
    );
    // Elsewhere nobody says that the machine did not take the processor.
    expect(level).toEqual([isLinux ? 'error' : 'warn']);
    if (isLinux) expect((await recordOf('Reports.hold')).blockedMs).toBeGreaterThan(300);
  });

  it('serves on when its thread is killed, also in the middle of a look, and says so', async () => {
    for (const ms of [0, 250]) {
      await start();
      expect(await get(`/kill/${ms}`)).toBe('killed');
      await child.hears(
        'warning',
        (said): said is Said => 'text' in said && said.text.includes('watchdog of the event loop'),
      );
      expect(await get('/compute/600')).toBe('computed');
      expect((await recordOf('Reports.compute')).blockedMs).toBeGreaterThan(500);
      await child.stop();
    }
  });

  it.each([['--inspect=127.0.0.1:0'], ['--inspect-port=0']])('serves with %s', async argument => {
    await start({}, [argument]);
    expect(await get('/compute/600')).toBe('computed');
    expect(await get('/wait/1')).toBe('waited');
    // Nobody is held while somebody inspects.
    expect(blames()).toHaveLength(argument.startsWith('--inspect=') ? 0 : 1);
  });

  it('leaves the main thread alone from when an inspector is opened', async () => {
    await start();
    expect(await get('/inspect')).toBe('open');
    expect(await get('/compute/600')).toBe('computed');
    await sleep(100);
    expect(blames()).toEqual([]);
  });

  it('does not keep back process.exit(), also while it looks', async () => {
    for (const ms of [230, 250, 260]) {
      await start();
      await expect(get(`/exit/${ms}`)).rejects.toThrow();
      expect(await child.exited).toBe(7);
    }
  });

  it('is not there with stallMs: 0', async () => {
    await start({ options: { stallMs: 0 } });
    await get('/compute/600');
    await sleep(100);
    expect(blames()).toEqual([]);
    expect((await recordOf('Reports.compute')).blockedMs).toBeGreaterThan(500);
  });
});
