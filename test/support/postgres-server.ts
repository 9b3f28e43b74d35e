import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { isReachable } from './servers';

const bin = findBinaries();
/** In CI a program that is not there is a failure, and not a reason to skip. */
export const hasPostgresBinary = Boolean(process.env['CI']) || bin !== undefined;
if (!hasPostgresBinary) console.warn('skipped: no `postgres` to start; `apt-get install postgresql`');

/** A server of the test's own, on a free port of this machine, which can be stopped and started again. */
export class PostgresServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'nac-postgres-'));
  // PostgreSQL refuses to run as root.
  readonly #user: { uid?: number; gid?: number } = process.getuid?.() === 0 ? idsOf('postgres') : {};
  #process: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #port = 0;

  static async start(...settings: string[]): Promise<PostgresServer> {
    const server = new PostgresServer();
    if (server.#user.uid !== undefined) chownSync(server.#folder, server.#user.uid, server.#user.gid!);
    execFileSync(
      join(bin!, 'initdb'),
      ['-D', server.#data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
      { ...server.#user, cwd: server.#folder, stdio: 'ignore' },
    );
    server.#port = await freePort();
    await server.start(...settings);
    return server;
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.#port}/postgres`;
  }

  get port(): number {
    return this.#port;
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  /** Starts it again, on the same port with the same data. */
  async start(...settings: string[]): Promise<void> {
    const args = ['-D', this.#data, '-p', String(this.#port), '-k', this.#folder, '-h', '127.0.0.1', '-F'];
    const own = settings.flatMap(setting => ['-c', setting]);
    const child = spawn(join(bin!, 'postgres'), [...args, ...own], { ...this.#user, stdio: 'ignore' });
    this.#process = child;
    this.#exited = new Promise(resolve => child.once('exit', resolve));
    for (let tries = 0; !(await this.#answers()); tries++) {
      if (tries > 400) throw new Error(`no PostgreSQL at port ${this.#port}`);
      await new Promise(wait => setTimeout(wait, 25));
    }
  }

  /** `SIGINT` ends all sessions, `SIGQUIT` is a crash. */
  async stop(signal: 'SIGINT' | 'SIGQUIT' = 'SIGINT'): Promise<void> {
    this.#process?.kill(signal);
    await this.#exited;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The rows of one statement, on a connection of its own. */
  async query<T extends object>(text: string): Promise<T[]> {
    const client = new Client({ connectionString: this.url });
    await client.connect();
    try {
      return (await client.query<T>(text)).rows;
    } finally {
      await client.end();
    }
  }

  async #answers(): Promise<boolean> {
    if (!(await isReachable(this.#port))) return false;
    // While it starts it listens, and refuses.
    return this.query('SELECT 1').then(
      () => true,
      () => false,
    );
  }
}

function idsOf(user: string): { uid: number; gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, user], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

function findBinaries(): string | undefined {
  try {
    const versions = readdirSync('/usr/lib/postgresql').toSorted((a, b) => Number(b) - Number(a));
    if (versions[0] !== undefined) return `/usr/lib/postgresql/${versions[0]}/bin`;
  } catch {
    // Not Debian's.
  }
  try {
    return execFileSync('pg_config', ['--bindir'], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}
