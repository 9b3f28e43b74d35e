import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import { type Child, Programs } from '../support/child';
import { platforms, until } from '../support/platforms';
import type { LostErrorsApp, Said } from './lost-errors-app';

const APP = 'test/diagnosis/lost-errors-app.ts';
const NODE = Number(process.versions.node.split('.')[0]);
const lines = readFileSync(join(import.meta.dirname, 'lost-errors-app.ts'), 'utf8').split('\n');

let programs: Programs;
let child: Child<Said>;
beforeAll(() => {
  programs = new Programs(APP);
});
afterAll(() => programs.remove());
afterEach(() => child.stop());

/** Starts the application and says where it listens. */
async function start(settings: LostErrorsApp, nodeArgs: readonly string[] = []): Promise<string> {
  child = programs.start<Said>(APP, settings, nodeArgs);
  return (await child.hears('address', (said): said is Said & { url: string } => 'url' in said)).url;
}

type Line = Extract<Said, { level: string }>;
const reports = (): Line[] =>
  child.said.filter((said): said is Line => 'level' in said && said.context === 'LostErrors');
const events = () => child.said.filter(said => 'event' in said);

/** A request that hangs, because an error of its was lost; given up after the error has come. */
async function lose(url: string, how: string): Promise<string> {
  const leave = new AbortController();
  const path = `${url}/lose/${encodeURIComponent(how)}`;
  const id = `lost-${Math.random()}`;
  const seen = events().length;
  const request = fetch(path, { headers: { 'x-request-id': id }, signal: leave.signal }).catch(
    () => undefined,
  );
  await until(() => events().length > seen, `event of ${how}`);
  // One that came twice would be here by then.
  await new Promise(resolve => setTimeout(resolve, 20));
  leave.abort();
  await request;
  return id;
}

/** The line of the application's source that says how it loses its error. */
function placeOf(how: string): string {
  const line = lines.findIndex(text => text.endsWith(`// ${how}`)) + 1;
  return line === 0 ? '' : `lost-errors-app.ts:${line}`;
}

const HOW = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'nextTick',
  'queueMicrotask',
  'listener of an emitter',
  'bound listener of an emitter of others',
  'listener of a socket',
  'error event of a socket',
  'floating async function',
  'floating async function that fails at once',
  'promise rejected by others',
  'awaited promise rejected by others',
  'rejected with undefined',
  'rejected with a string',
  'rejected with a DOMException',
  'rejected with a frozen error',
  'thrown undefined',
  'thrown object that cannot be looked at',
  'a message like a stack',
  'a rejection handled a tick later',
  'two promises of one error',
];
/** Where Node itself does not say whose work it was. */
const UNKNOWN = NODE < 24 ? ['queueMicrotask'] : ['promise rejected by others'];

describe.each(platforms)('an error that nobody awaits, on %s', platform => {
  it.each([
    ['listens to uncaughtException', ['uncaughtException']],
    ['listens to both', ['uncaughtException', 'unhandledRejection']],
  ] as const)(
    'is reported once with its request, handler and line where the application %s',
    async (_name, listens) => {
      const url = await start({ platform, listens, options: { requestId: { trust: true } } });
      for (const how of HOW) {
        const before = reports().length;
        const id = await lose(url, how);
        const found = reports().slice(before);
        // Without a listener Node wraps it as it has wrapped `undefined`: said in the same minute.
        const isSame = how === 'rejected with a string' && listens.length === 1;
        if (UNKNOWN.includes(how) || isSame) {
          expect(found, how).toEqual([]);
          continue;
        }
        expect(found, how).toHaveLength(1);
        const [{ text, message, level, requestId }] = found as [Line & { requestId: string }];
        expect(level).toBe('error');
        expect(text).toMatch(/^An error that nobody awaits ended work of OrdersController\.lose: /);
        expect(text).toContain(`GET /lose/:how, request id ${id}`);
        expect(text).toContain(placeOf(how));
        expect(message).toMatchObject({
          handler: 'OrdersController.lose',
          requestId: id,
          route: 'GET /lose/:how',
        });
        // The line is written inside the context of the request, for the logger's own fields.
        expect(requestId).toBe(id);
        expect(text + JSON.stringify(message)).not.toContain('secret');
      }
    },
    60_000,
  );
});
