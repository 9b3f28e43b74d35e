import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Programs } from './support/child';
import { databaseUrl, isEmbedded } from './support/database';
import { hasRedis, redisUrl } from './support/redis-server';
import { freePort } from './support/servers';

const root = join(import.meta.dirname, '..');

/** What each example says once it has shown its point. */
const SAYS: Readonly<Record<string, RegExp>> = {
  bullmq: /MailProcessor\.process: 5 cache commands \(budget 3\)/,
  graphql: /OrdersResolver\.orders: an N\+1 on customers \(21 queries in total\)/,
  microservices: /request (\S+) asked; the message came from \1\n/,
  'pino-fastify': /"handler":"OrdersController\.list","tenant":"acme","msg":"listing the orders"/,
  typeorm: /OrdersController\.oneByOne: an N\+1 on items \(31 queries in total\)/,
};
const names = readdirSync(join(root, 'examples'))
  .filter(file => file.endsWith('.ts'))
  .map(file => file.replace(/\.ts$/, ''));

interface Ended {
  readonly code: number | null;
  readonly text: string;
}

// The examples use packages that test/nest-11/ does not have.
describe.skipIf(process.env['NEST'] === '11')('an example', () => {
  let programs: Programs;
  beforeAll(() => {
    programs = new Programs(...names.map(name => `examples/${name}.ts`));
    // With a name, the folder is the package that the examples import.
    const manifest = readFileSync(join(root, 'package.json'), 'utf8').replaceAll('./dist/', './lib/');
    writeFileSync(join(programs.folder, 'package.json'), manifest);
  });
  afterAll(() => programs.remove());

  function run(name: string, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    const urls = { DATABASE_URL: databaseUrl(), REDIS_URL: redisUrl };
    const child = spawn(process.execPath, ['--enable-source-maps', join('examples', name)], {
      cwd: programs.folder,
      env: { ...process.env, ...urls, ...env },
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', part => (text += part));
    return new Promise(resolve => child.once('close', code => resolve({ code, text })));
  }

  it('has at most 60 lines, a row in the table and a check here', () => {
    const readme = readFileSync(join(root, 'examples/README.md'), 'utf8');
    expect(names).toEqual(Object.keys(SAYS));
    for (const name of names) {
      const lines = readFileSync(join(root, `examples/${name}.ts`), 'utf8')
        .trimEnd()
        .split('\n');
      expect(lines.length, name).toBeLessThanOrEqual(60);
      expect(readme).toContain(`[\`${name}\`](${name}.ts)`);
    }
  });

  // The embedded engine ignores `search_path` among the options of a connection.
  const isMissing = (name: string): boolean =>
    (name === 'bullmq' && !hasRedis) || (name === 'typeorm' && isEmbedded);

  for (const name of names) {
    it.skipIf(isMissing(name))(`shows its point: ${name}`, async () => {
      const { code, text } = await run(name);
      expect(text).toMatch(SAYS[name]!);
      expect(code, text).toBe(0);
    });
  }

  it.each(['typeorm', 'graphql', 'bullmq'])(
    'says how to start the server that is missing: %s',
    async name => {
      const nowhere = `127.0.0.1:${await freePort()}`;
      const urls = {
        DATABASE_URL: `postgres://postgres@${nowhere}/postgres`,
        REDIS_URL: `redis://${nowhere}`,
      };
      for (const [CI, expected] of [['', 0] as const, ['true', 1] as const]) {
        const { code, text } = await run(name, { ...urls, CI });
        expect(text).toMatch(/^No (PostgreSQL|Redis): docker run .*\n$/);
        expect(code).toBe(expected);
      }
    },
  );
});
