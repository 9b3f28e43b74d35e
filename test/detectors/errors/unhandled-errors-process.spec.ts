import { describe, expect, it } from 'vitest';
import { platforms, until } from '../../support/platforms';
import type { UnhandledErrorsApp } from './unhandled-errors/app';
import { type Running, usePrograms } from './unhandled-errors/running';

const start = usePrograms();

/** Frames name the functions that a request went through, ours among them. */
const withoutFrames = (stderr: string): string =>
  stderr
    .replace(/^ {4}at .*\n/gm, '')
    // Of a warning: `(node:4711)`, and how many rejections there were before it.
    .replace(/ \(rejection id: \d+\)/g, '')
    .replace(/node:\d+\)/g, 'node)');

const HOW = ['setTimeout', 'floating async function', 'rejected with undefined'];

async function endOf(running: Running, how: string): Promise<{ code: unknown; stderr: string }> {
  const request = fetch(`${running.url}/lose/${encodeURIComponent(how)}`).catch(() => undefined);
  const code = await running.child.exited;
  await request;
  return { code, stderr: withoutFrames(running.child.stderr) };
}

describe.each(platforms)('a process that an error ends, on %s', platform => {
  it.each(HOW)('ends as without this package: %s', async how => {
    const options = { answerUnhandledErrors: platform === 'fastify' };
    const [bare, running] = await Promise.all([start({ platform }), start({ platform, options })]);
    const end = await endOf(bare, how);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('Node.js v');
    expect(await endOf(running, how)).toEqual(end);
    expect(running.reports).toHaveLength(1);
    const { text, message } = running.reports[0]!;
    expect(text).toContain(
      '\n  process Node ends it now (exit code 1), and with it every other request\n  fix ',
    );
    expect(text).toContain(
      platform === 'fastify'
        ? 'answer  the request was answered by its exception filters'
        : 'answer  the request gets none; forRoot({ answerUnhandledErrors: true }) would respond to it, but the process would still end',
    );
    expect(message).toMatchObject({ endsProcess: true });
  });

  it('ends as without this package with --unhandled-rejections=strict', async () => {
    const how = 'floating async function';
    const args = ['--unhandled-rejections=strict'];
    const bare = await endOf(await start({ platform }, args), how);
    expect(bare.code).toBe(1);
    const running = await start({ platform, options: {} }, args);
    expect(await endOf(running, how)).toEqual(bare);
    expect(running.reports).toHaveLength(1);
  });
});

describe('a process that its own listener keeps', () => {
  it.each([
    ['uncaughtException', 'setTimeout'],
    ['uncaughtException', 'floating async function'],
    ['unhandledRejection', 'floating async function'],
  ] as const)('is not said to end: %s, %s', async (event, how) => {
    const running = await start({ platform: 'express', listens: [event], options: {} });
    await running.lose(how);
    const { text, message } = running.reports[0]!;
    expect(text).not.toContain('process ');
    expect(text).toContain('answer  the request is still waiting; ');
    expect(message).toMatchObject({ endsProcess: false });
  });
});

describe('a listener to unhandledRejection that throws what it is given', () => {
  it.each(['floating async function', 'rejected with undefined'])(
    'ends the process as without this package, and the error is reported once: %s',
    async how => {
      const bare = await endOf(await start({ platform: 'express', rethrows: true }), how);
      expect(bare.code).toBe(1);
      const running = await start({ platform: 'express', rethrows: true, options: {} });
      expect(await endOf(running, how)).toEqual(bare);
      expect(running.reports).toHaveLength(1);
    },
  );
});

describe('a process that no rejection ends', () => {
  it.each([
    ['warn', [], 1],
    ['warn', ['unhandledRejection'], 1],
    ['none', [], 1],
    // A listener would change its exit code.
    ['warn-with-error-code', [], 0],
  ] as const)(
    'goes on as without this package: --unhandled-rejections=%s, listeners %j',
    async (mode, listens, reports) => {
      const [bare, running] = await Promise.all(
        [undefined, {}].map(async options => {
          const settings: UnhandledErrorsApp = { platform: 'express', listens, ...(options && { options }) };
          const process = await start(settings, [`--unhandled-rejections=${mode}`]);
          let clean = 0;
          const others = (async () => {
            for (; clean < 5; clean++) await fetch(`${process.url}/clean`);
          })();
          await process.lose('floating async function', () => clean === 5);
          await others;
          process.child.send('exit');
          await process.child.exited;
          return process;
        }),
      );
      expect(await running!.child.exited).toBe(await bare!.child.exited);
      expect(withoutFrames(running!.child.stderr)).toBe(withoutFrames(bare!.child.stderr));
      expect(running!.events).toEqual(bare!.events);
      expect(running!.reports).toHaveLength(reports);
    },
  );
});

describe("the application's own listeners", () => {
  it.each([[['uncaughtException']], [['unhandledRejection', 'uncaughtException']]] as const)(
    'are called as without this package: %j',
    async listens => {
      const how = [
        'setTimeout',
        'queueMicrotask',
        'floating async function',
        'rejected with undefined',
        'rejected with a string',
        'rejected with a frozen error',
        'thrown undefined',
        'two promises of one error',
        'a rejection handled a tick later',
      ];
      const bare = await start({ platform: 'express', listens });
      const running = await start({ platform: 'express', listens, options: {} });
      for (const one of [bare, running]) for (const name of how) await one.lose(name);
      expect(running.events).toEqual(bare.events);
      expect(running.events.length).toBeGreaterThanOrEqual(how.length + 1);
      expect(new Set(running.events.map(({ args }) => args))).toEqual(new Set([2]));
    },
  );

  it('to unhandledRejection are followed: none of ours without one of theirs', async () => {
    const bare = await (await start({ platform: 'express' })).listeners();
    const running = await start({ platform: 'express', options: {} });
    const rejections = async (): Promise<number> => (await running.listeners())['unhandledRejection']!;
    expect(bare['unhandledRejection']).toBe(0);
    expect(await rejections()).toBe(0);
    for (const [command, expected] of [
      ['add', 2],
      ['remove', 0],
      ['once', 2],
      ['add', 3],
      ['remove all', 0],
      ['add', 2],
    ] as const) {
      running.child.send(command);
      expect(await rejections(), command).toBe(expected);
    }
    await running.lose('floating async function');
    expect(running.reports).toHaveLength(1);
  });

  it('for once leave the process to its default the second time', async () => {
    const running = await start({ platform: 'express', options: {} });
    running.child.send('once');
    expect((await running.listeners())['unhandledRejection']).toBe(2);
    await running.lose('floating async function');
    expect(running.reports).toHaveLength(1);
    expect((await running.listeners())['unhandledRejection']).toBe(0);
    expect(await endOf(running, 'floating async function that fails at once')).toMatchObject({ code: 1 });
    expect(running.reports).toHaveLength(2);
  });

  it('are so many that one more would make Node warn: then there is none of ours', async () => {
    const bare = await start({ platform: 'express' });
    const running = await start({ platform: 'express', options: {} });
    for (let i = 1; i <= 11; i++) {
      running.child.send('add');
      const count = (await running.listeners())['unhandledRejection'];
      expect(count, String(i)).toBe(i < 10 ? i + 1 : i);
      if (i < 11) expect(running.child.stderr).toBe('');
    }
    for (let i = 1; i <= 11; i++) bare.child.send('add');
    for (const { child } of [bare, running]) {
      await until(() => child.stderr.includes('was created)'), 'warning of Node');
    }
    expect(withoutFrames(running.child.stderr)).toBe(withoutFrames(bare.child.stderr));
  });
});

describe('two applications of one process', () => {
  it('share one listener, and the last one takes it back', async () => {
    const listens = ['uncaughtException', 'unhandledRejection'] as const;
    const bare = await (await start({ platform: 'express', listens })).listeners();
    const running = await start({ platform: 'express', listens, options: {}, applications: 2 });
    const installed = await running.listeners();
    for (const event of ['uncaughtExceptionMonitor', 'unhandledRejection', 'newListener', 'removeListener']) {
      expect(installed[event], event).toBe(bare[event]! + 1);
    }
    expect(installed['uncaughtException']).toBe(bare['uncaughtException']);
    expect(await running.listeners('close')).toEqual(installed);
    await running.lose('setTimeout');
    expect(running.reports).toHaveLength(1);
    expect(await running.listeners('close')).toEqual(bare);
  });
});
