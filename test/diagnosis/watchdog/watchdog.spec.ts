import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Child, Programs } from '../../support/child';
import type { Said, SaidRecord, WatchedApp } from './app';

const PROGRAM = 'test/diagnosis/watchdog/app.ts';
const isLinux = process.platform === 'linux';
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
  async function recordOf(handler: string): Promise<SaidRecord> {
    for (;;) {
      child.send('records');
      await sleep(50);
      const all = child.said.flatMap(said => ('records' in said ? said.records : []));
      const found = all.find(record => record.handler === handler);
      if (found !== undefined) return found;
    }
  }

  it('reports a stall of 20 s once, with the handler, the line, and who waited', async () => {
    await start({ options: { slowAfterMs: 0 } });
    const waiting = Promise.all(Array.from({ length: 100 }, () => get('/wait/21000')));
    await sleep(500);
    await get('/spin/20000');
    await waiting;

    expect(lines('EventLoop')).toHaveLength(1);
    expect(lines('EventLoop')[0]).toMatch(
      /^Reports\.spin blocked the event loop for 2\d,\d{3}(\.\d)? ms at app\.ts:45 spin\n/,
    );
    expect(lines('EventLoop')[0]).toContain('100 other units of work were open');
    const { time } = await recordOf('Reports.wait');
    expect(time['stalledMs']).toBeGreaterThan(18_000);
    expect(time['stalledMs']).toBeLessThan(30_000);
  });

  it.runIf(isLinux)('says nothing of a process that is suspended', async () => {
    await start();
    const spinning = get('/spin/150');
    const waiting = get('/wait/600');
    await sleep(80);
    process.kill(child.pid, 'SIGSTOP');
    await sleep(2_000);
    process.kill(child.pid, 'SIGCONT');
    await Promise.all([spinning, waiting]);
    await sleep(300);

    expect(lines('EventLoop')).toEqual([]);
    const { blockedMs = 0 } = await recordOf('Reports.spin');
    expect(blockedMs).toBeLessThan(1_000);
    expect((await recordOf('Reports.wait')).time['stalledMs']).toBeLessThan(1_000);
  });

  it('serves on when its thread is killed, also in the middle of a look, and says so', async () => {
    for (const ms of [0, 250]) {
      await start();
      expect(await get(`/kill/${ms}`)).toBe('killed');
      await child.hears(
        'warning',
        (said): said is Said => 'text' in said && said.text.includes('watchdog of the event loop'),
      );
      expect(await get('/spin/600')).toBe('spun');
      expect((await recordOf('Reports.spin')).blockedMs).toBeGreaterThan(550);
      await child.stop();
    }
  });

  it.each([['--inspect=127.0.0.1:0'], ['--inspect-port=0']])('serves with %s', async argument => {
    await start({}, [argument]);
    expect(await get('/spin/600')).toBe('spun');
    expect(await get('/wait/1')).toBe('waited');
    // Nobody is held while somebody inspects.
    expect(lines('EventLoop')).toHaveLength(argument.startsWith('--inspect=') ? 0 : 1);
  });

  it('leaves the main thread alone from when an inspector is opened', async () => {
    await start();
    expect(await get('/inspect')).toBe('open');
    expect(await get('/spin/600')).toBe('spun');
    await sleep(100);
    expect(lines('EventLoop')).toEqual([]);
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
    await get('/spin/600');
    await sleep(100);
    expect(lines('EventLoop')).toEqual([]);
    expect((await recordOf('Reports.spin')).blockedMs).toBeGreaterThan(550);
  });
});
