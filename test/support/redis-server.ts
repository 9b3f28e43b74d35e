import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isReachable } from './servers';
import { type TestApp, until } from './platforms';
import { recordOfUnit } from './units';

export const redisUrl = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';
const isCi = Boolean(process.env['CI']);

const redisPort = Number(new URL(redisUrl).port || 6379);
/** In CI a server that is not there is a failure, and not a reason to skip. */
export const hasRedis = isCi || (await isReachable(redisPort));
if (!hasRedis) console.warn(`skipped: no Redis at port ${redisPort}; start one with \`redis-server\``);

export const hasRedisBinary = isCi || spawnSync('redis-server', ['--version']).error === undefined;
if (!hasRedisBinary) console.warn('skipped: no `redis-server` to start; `apt-get install redis-server`');

/** No key of one test process is that of another. */
export const redisKey = (name: string): string => `nac-${process.pid}-${name}`;

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** A server of the test's own, on a free port of this machine. */
export async function startRedis(...options: string[]): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nac-redis-'));
  const port = await freePort();
  const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder];
  const child = spawn('redis-server', [...settings, ...options], { stdio: 'ignore' });
  const exited = new Promise(resolve => child.once('exit', resolve));
  for (let tries = 0; !(await isReachable(port)); tries++) {
    if (tries > 200) throw new Error(`no redis-server at port ${port}`);
    await new Promise(resolve => setTimeout(resolve, 25));
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Three masters that share the slots. */
export async function startCluster(): Promise<readonly RedisServer[]> {
  const options = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'];
  const servers = await Promise.all([0, 1, 2].map(() => startRedis(...options)));
  const nodes = servers.map(({ port }) => `127.0.0.1:${port}`);
  execFileSync('redis-cli', ['--cluster', 'create', ...nodes, '--cluster-yes'], { timeout: 30_000 });
  await until(
    () => servers.every(({ port }) => info(port).includes('cluster_state:ok')),
    'cluster that is ready',
  );
  return servers;
}

function info(port: number): string {
  return execFileSync('redis-cli', ['-p', `${port}`, 'cluster', 'info'], { encoding: 'utf8' });
}

/** The bus of a cluster node listens 10,000 above its port. */
async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise(resolve => server.close(resolve));
    if (port < 55_000) return port;
  }
}

export interface CommandCost {
  readonly errors: number;
  readonly commands: Record<string, number>;
}

/** Commands of some work by name, and how many failed; also when the work fails. */
export async function commandsOf(test: TestApp, work: () => unknown): Promise<CommandCost> {
  const { cache } = await recordOfUnit(test, async () => {
    await new Promise(resolve => resolve(work())).catch(() => undefined);
  });
  const commands: Record<string, number> = {};
  let sum = 0;
  for (const [name, { count }] of Object.entries(cache?.byTarget ?? {})) {
    commands[name] = count;
    sum += count;
  }
  if (sum !== (cache?.count ?? 0)) throw new Error(`${sum} by name, ${cache?.count} in all`);
  return { errors: cache?.errors ?? 0, commands };
}
