import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Child, Programs } from '../support/child';
import { type Platform, platforms } from '../support/platforms';
import type { HooksEnd } from './hooks/app';
import { hookErrors, type Outcome } from './hooks/faults';

const FILES = ['app', 'faults'].map(name => `test/outcome/hooks/${name}.ts`);
const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

const PROMISE = /returned a promise, but must be synchronous$/;
/** Class, code and line, or the words of this package: never the text of the error. */
const ERROR = /^(?:Error|TypeError|object|undefined|symbol)(?: \(\w+\))?(?: (?:at|in) [\w.-]+:\d+.*)?$/;
const NONE = undefined;

type Said = Readonly<Record<Outcome, RegExp | undefined>>;

/** Its answer is needed at once. */
const asked: Said = { throws: ERROR, rejects: PROMISE, 'never ends': PROMISE, 'is no answer': NONE };
/** What it gives back is awaited by nobody. */
const called: Said = { throws: ERROR, rejects: ERROR, 'never ends': NONE, 'is no answer': NONE };
/** What it gives back is awaited. */
const awaited: Said = { throws: ERROR, rejects: ERROR, 'never ends': NONE, 'is no answer': ERROR };
const WITHIN = / took longer than 50 ms$/;

/** Every function that the application gives to the package, by what is said of it. */
const table: Readonly<Record<string, Said>> = {
  'requestId.trust': asked,
  'requestId.generate': { ...asked, 'is no answer': /^it did not return 1 to 200 characters/ },
  user: asked,
  serverTiming: asked,
  canonicalLog: asked,
  carrierUser: asked,
  onExceeded: called,
  onClose: awaited,
  'carrier, key value, to JSON': { ...asked, 'is no answer': ERROR },
  'carrier, key tenant': {
    throws: /^its schema threw, so the incoming value was ignored$/,
    rejects: /^its schema is asynchronous/,
    'never ends': /^its schema is asynchronous/,
    'is no answer': /^its schema /,
  },
  'instrumentation install': asked,
  'instrumentation undo': called,
  'sink write': awaited,
  'sink close, close()': awaited,
  'sink every': awaited,
  'sink attach, attach()': called,
  'sink observer, begins()': called,
  'sink observer, ends()': called,
  'sink client-proxy key': asked,
  'sink client-proxy message': asked,
  'sink client-proxy client': { ...asked, 'is no answer': ERROR },
  'sink client-proxy broken': { ...asked, 'is no answer': ERROR },
  'sink client-proxy request': { ...asked, 'is no answer': ERROR },
  'sink postgres "public"."cost_records"': { ...awaited, 'never ends': WITHIN },
};

let programs: Programs;
let children: Map<Platform, Child<HooksEnd>>;
// Both at once: each waits for seconds, for what hangs.
beforeAll(() => {
  programs = new Programs(...FILES, 'test/support/unprintable.ts');
  const start = (platform: Platform): Child<HooksEnd> =>
    programs.start('test/outcome/hooks/app.ts', {
      platform,
      hookErrors: ['fails never', ...Object.keys(hookErrors)],
    });
  children = new Map(platforms.map(platform => [platform, start(platform)]));
});
afterAll(async () => {
  await Promise.all([...children.values()].map(child => child.stop()));
  programs.remove();
});

describe.each(platforms)('every function of the application on %s', platform => {
  let child: Child<HooksEnd>;
  beforeAll(() => {
    child = children.get(platform)!;
  });

  async function endOf(hookError: string): Promise<HooksEnd> {
    for (;;) {
      const end = child.said.find(said => said.hookError === hookError);
      if (end !== undefined) return end;
      const code = await Promise.race([
        child.exited,
        new Promise(resolve => setTimeout(resolve, 20, 'runs')),
      ]);
      if (code !== 'runs' && !child.said.some(said => said.hookError === hookError)) {
        throw new Error(`the process ended with ${String(code)}: ${child.stderr}`);
      }
    }
  }

  it.each(Object.entries(hookErrors))(
    'may fail, in a process that lives on: it %s',
    { timeout: 300_000 },
    async (name, hookError) => {
      const end = await endOf(name);
      const sound = await endOf('fails never');
      expect(end.answers).toEqual(
        sound.answers.map(answer => ({ ...answer, id: expect.stringMatching(UUID) })),
      );
      expect(end.records).toBe(sound.records);
      for (const [where, said] of Object.entries(table)) {
        const begins = [`${where} failed and was ignored: `, `${where}: `];
        // A sink says below what it loses, and what to do.
        const words = end.warnings.flatMap(warning => {
          const [line = ''] = warning.split('\n');
          const begin = begins.find(one => line.startsWith(one));
          return begin === undefined ? [] : [line.slice(begin.length)];
        });
        const expected = said[hookError.outcome];
        expect.soft(words, where).toEqual(expected === undefined ? [] : [expect.stringMatching(expected)]);
      }
      expect(end.warnings.join()).not.toContain('@shop.example');
      for (const { produced, delivered, dropped, queued } of end.stats) {
        expect(produced).toBe(sound.records);
        expect(delivered + dropped + queued).toBe(produced);
        expect(queued).toBe(0);
      }
    },
  );

  it('leaves the process to end by itself', { timeout: 300_000 }, async () => {
    expect(await child.exited, child.stderr).toBe(0);
    expect(child.stderr).toBe('');
  });
});
