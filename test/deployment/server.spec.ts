import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { ImageFolder, instruction } from './image';

const DATABASE = `sample_${process.pid}`;
const START_MS = 240_000;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function onServer(statement: string): Promise<void> {
  const client = new Client({ connectionString: databaseUrl() });
  await client.connect();
  await client.query(statement);
  await client.end();
}

/** What the container engine does, without one. */
class Container {
  output = '';
  readonly #process: ChildProcess;
  readonly #image: ImageFolder;
  readonly #environment: NodeJS.ProcessEnv;
  readonly exited: Promise<number | string | null>;

  constructor(image: ImageFolder, environment: Readonly<Record<string, string>>) {
    this.#image = image;
    this.#environment = { PATH: process.env['PATH'], ...image.environment, ...environment };
    this.#process = this.#run(instruction('CMD'));
    for (const output of [this.#process.stdout!, this.#process.stderr!]) {
      output.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    this.exited = new Promise(resolve => {
      this.#process.on('close', (code, signal) => resolve(code ?? signal));
    });
  }

  /** The exit code of the health check. */
  async isHealthy(): Promise<number> {
    const check = this.#run(instruction('HEALTHCHECK'));
    const [code] = (await once(check, 'close')) as [number];
    return code;
  }

  async becomesHealthy(): Promise<void> {
    const end = Date.now() + START_MS;
    while ((await this.isHealthy()) !== 0) {
      if (Date.now() > end) throw new Error(`not healthy within 4 minutes: ${this.output}`);
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  #run([command, ...args]: readonly string[]): ChildProcess {
    const node = command === 'node' ? process.execPath : command!;
    return spawn(node, args, {
      cwd: this.#image.path,
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

describe.skipIf(isEmbedded)('the image of the sample application', () => {
  let image: ImageFolder;

  beforeAll(async () => {
    image = new ImageFolder();
    await onServer(`CREATE DATABASE ${DATABASE}`);
  });
  afterAll(async () => {
    await onServer(`DROP DATABASE IF EXISTS ${DATABASE} WITH (FORCE)`);
    image.remove();
  });

  it('serves, tells its health and its metrics, and ends with its requests answered', async () => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const costFile = join(image.path, 'cost.ndjson');
    const container = new Container(image, {
      PORT: String(port),
      DATABASE_URL: databaseUrl().replace(/\/[^/]*$/, `/${DATABASE}`),
      COST_FILE: costFile,
      SHUTDOWN_DELAY_MS: '2000',
    });
    expect(await container.isHealthy()).toBe(1);
    await container.becomesHealthy();
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    expect((await fetch(`${url}/orders?count=3`)).status).toBe(200);
    let metrics = '';
    while (!metrics.includes('handler="OrdersController.list"')) {
      metrics = await (await fetch(`${url}/metrics`)).text();
    }
    expect(metrics).toContain('# TYPE nestjs_request_duration_seconds histogram');

    const inFlight = Array.from({ length: 8 }, () => fetch(`${url}/slow/search?ms=3000`));
    await untilRunning(8);
    container.kill('SIGTERM');
    while ((await fetch(`${url}/health/ready`)).status === 200);
    expect((await fetch(`${url}/health/ready`)).status).toBe(503);
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    expect((await fetch(`${url}/orders?count=2`)).status).toBe(200);

    const answers = await Promise.all(inFlight.map(async answer => (await answer).text()));
    expect(answers).toEqual(Array.from({ length: 8 }, () => 'found'));
    expect(await container.exited).toBe(0);

    const records = readFileSync(costFile, 'utf8')
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as CostRecord);
    const count = (handler: string) => records.filter(record => record.handler === handler).length;
    expect([count('SlowController.search'), count('OrdersController.list')]).toEqual([8, 2]);
    const lines = container.output
      .split('\n')
      .filter(line => line.startsWith('{'))
      .map(line => JSON.parse(line) as { context: string; handler?: string });
    const canonical = lines.filter(({ context }) => context === 'Request').map(({ handler }) => handler);
    expect(canonical.filter(handler => handler === 'SlowController.search')).toHaveLength(8);
    expect(canonical.filter(handler => handler?.startsWith('Health'))).toEqual([]);
  });

  it('says what it misses and ends with an error', async () => {
    const container = new Container(image, { PORT: '1' });
    expect(await container.exited).toBe(1);
    expect(container.output).toContain('DATABASE_URL is not set');
  });
});

/** Until so many of the slow queries are under way on the server. */
async function untilRunning(count: number): Promise<void> {
  const client = new Client({ connectionString: databaseUrl() });
  await client.connect();
  const running =
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'SELECT pg_sleep%' AND state = 'active'";
  for (let n = 0; n < count;) {
    n = (await client.query<{ n: number }>(running, [DATABASE])).rows[0]!.n;
  }
  await client.end();
}
