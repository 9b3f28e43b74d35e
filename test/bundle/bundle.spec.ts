import { build } from 'esbuild';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextError, type CostRecord, pgInstrumentation } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { freePort } from '../support/servers';

/** What Nest loads where it is used, and is not used here. */
const NOT_USED = [
  '@fastify/*',
  '@grpc/*',
  '@nats-io/*',
  '@nestjs/platform-fastify',
  '@nestjs/platform-socket.io',
  '@nestjs/websockets*',
  '@opentelemetry/*',
  'amqp*',
  'class-*',
  'ioredis',
  'kafkajs',
  'mqtt',
  'nats',
  'pg-native',
];

interface Said {
  readonly answers: readonly string[];
  readonly warnings: readonly string[];
  readonly records: readonly CostRecord[];
}

// Outside of the repository: no package is found from there.
const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(isGiven: boolean): Promise<Said> {
  const settings = { database: databaseUrl(), port: await freePort(), isGiven };
  const env = { ...process.env, SETTINGS: JSON.stringify(settings) };
  const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'main.cjs')], {
    cwd: folder,
    env,
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Said;
}

describe('an application in one file with all its packages', () => {
  beforeAll(() =>
    build({
      entryPoints: [join(import.meta.dirname, 'app.ts')],
      outfile: join(folder, 'main.cjs'),
      bundle: true,
      platform: 'node',
      target: 'node20',
      sourcemap: true,
      sourcesContent: false,
      logLevel: 'error',
      external: [...builtinModules, ...NOT_USED],
    }),
  );

  it('has its drivers counted when it gives their modules, with lines of its own', async () => {
    const { answers, warnings, records } = await run(true);
    const orders = records.find(({ handler }) => handler === 'ShopController.orders')!;
    expect(answers[0]).toBe(orders.requestId);
    expect(orders.queries).toMatchObject({ count: 6, rows: 6 });
    expect(orders.breaches).toMatchObject([{ dimension: 'queries', used: 6, limit: 1 }]);
    expect(orders.queries.shapes[0]?.callSite ?? '').toMatch(
      // A line of this package where it is bundled from its sources, which are in no node_modules here.
      /^((app|method-replacement)\.ts:\d+ (orders|query))?$/,
    );
    expect(warnings).toEqual([]);
  });

  it('has contexts for messages, and the errors of its requests', async () => {
    const { answers, records } = await run(true);
    expect(answers[2]).toBe('{"kind":"rpc"}');
    expect(records.find(({ handler }) => handler === 'ShopController.missing')?.error).toBe(
      'NotFoundException',
    );
    expect(records.filter(({ kind }) => kind === 'rpc')).toHaveLength(1);
  });

  it('is told at the start what it does not count, and how to have it', async () => {
    const { warnings, records } = await run(false);
    expect(records.find(({ handler }) => handler === 'ShopController.orders')?.queries.count).toBe(0);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /^nestjs-async-context is part of a bundle, where it cannot find drivers\. .+ not those of pg, .+pgInstrumentation\(pg\)/,
    );
  });
});

describe('what is given to an instrumentation', () => {
  it.each([[{}], [{ Client: 1 }], [null], ['pg']])('is refused when it is not the module: %j', given => {
    expect(() => pgInstrumentation(given as object)).toThrow(AsyncContextError);
    expect(() => pgInstrumentation(given as object)).toThrow(
      /instrumentation of pg was given something other than the module/,
    );
  });
});
