import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { isReachable } from './servers';

/** What runs a server: a program on a port of this machine, with a folder that outlives a restart. */
export interface ServerProgram {
  readonly command: string;
  readonly package: string;
  readonly args: (port: number, folder: string) => readonly string[];
  readonly files?: (port: number, folder: string) => Readonly<Record<string, string>>;
  /** Where it writes which process it is, when a script starts it. */
  readonly pidFile?: string;
  readonly env?: (port: number, folder: string) => Readonly<Record<string, string>>;
}

export const SERVERS: Record<'redis' | 'nats' | 'mqtt' | 'rabbitmq', ServerProgram> = {
  redis: {
    command: 'redis-server',
    package: 'redis-server',
    args: (port, folder) => ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder],
  },
  nats: {
    command: 'nats-server',
    package: 'nats-server',
    args: (port, folder) => ['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', folder],
  },
  mqtt: {
    command: 'mosquitto',
    package: 'mosquitto',
    args: (_port, folder) => ['-c', join(folder, 'mosquitto.conf')],
    files: (port, folder) => ({
      'mosquitto.conf': [
        `listener ${port} 127.0.0.1`,
        'allow_anonymous true',
        'max_queued_messages 0',
        'persistence true',
        `persistence_location ${folder}/`,
        // As root it would become another user, who may not write there.
        `user ${userInfo().username}\n`,
      ].join('\n'),
    }),
  },
  rabbitmq: {
    // Not the script on the path: that one runs as another user, in its folder.
    command: '/usr/lib/rabbitmq/bin/rabbitmq-server',
    package: 'rabbitmq-server',
    args: () => [],
    pidFile: 'pid',
    files: () => ({ plugins: '[].\n', 'rabbitmq.conf': 'loopback_users = none\n' }),
    env: (port, folder) => ({
      HOME: folder,
      RABBITMQ_NODENAME: `nac-${port}@localhost`,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: `${port}`,
      RABBITMQ_DIST_PORT: `${port + 20_000 > 65_000 ? port - 20_000 : port + 20_000}`,
      RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
      RABBITMQ_PID_FILE: join(folder, 'pid'),
    }),
  },
};

const isCi = Boolean(process.env['CI']);

/** Whether a server can be started here; in CI one that cannot is a failure, and not a reason to skip. */
export function canStart({ command, package: name }: ServerProgram): boolean {
  const isThere = spawnSync('which', [command]).status === 0;
  if (!isThere) console.warn(`skipped: no \`${command}\` to start; \`apt-get install ${name}\``);
  return isThere || isCi;
}

/** Those that run: a test that fails in the middle must leave none behind. */
const running = new Set<OwnServer>();
process.once('exit', () => running.forEach(server => server.kill('SIGKILL')));

/** A server of the test's own, which it may stop, freeze and start again on its port. */
export class OwnServer {
  readonly port: number;
  readonly #program: ServerProgram;
  readonly #folder: string;
  #process: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();

  static async start(program: ServerProgram): Promise<OwnServer> {
    const folder = await mkdtemp(join(tmpdir(), 'nac-server-'));
    const port = await freePort();
    for (const [name, text] of Object.entries(program.files?.(port, folder) ?? {})) {
      await writeFile(join(folder, name), text);
    }
    const server = new OwnServer(program, port, folder);
    await server.start();
    return server;
  }

  private constructor(program: ServerProgram, port: number, folder: string) {
    this.#program = program;
    this.port = port;
    this.#folder = folder;
  }

  async start(): Promise<void> {
    const { command, args, env } = this.#program;
    const child = spawn(command, args(this.port, this.#folder), {
      stdio: 'ignore',
      env: { ...process.env, ...env?.(this.port, this.#folder) },
    });
    this.#process = child;
    running.add(this);
    this.#exited = new Promise(resolve => child.once('exit', resolve));
    for (let tries = 0; !(await isReachable(this.port)); tries++) {
      if (tries > 1_200 || child.exitCode !== null) throw new Error(`no ${command} at port ${this.port}`);
      await new Promise(resolve => setTimeout(resolve, 25));
    }
  }

  /** Ends it: its port refuses connections from then on. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#process === undefined) return;
    this.kill('SIGCONT');
    this.kill(signal);
    this.#process = undefined;
    running.delete(this);
    await this.#exited;
  }

  /** Keeps it from doing anything: its connections stay and say nothing. */
  freeze(): void {
    this.kill('SIGSTOP');
  }

  thaw(): void {
    this.kill('SIGCONT');
  }

  async remove(): Promise<void> {
    await this.stop('SIGKILL');
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Sends a signal to it, and not to the script that has started it. */
  kill(signal: NodeJS.Signals): void {
    const { pidFile } = this.#program;
    if (pidFile === undefined) this.#process?.kill(signal);
    else process.kill(Number(readFileSync(join(this.#folder, pidFile), 'utf8')), signal);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}
