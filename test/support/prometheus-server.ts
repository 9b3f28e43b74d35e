import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const isCi = Boolean(process.env['CI']);

/** In CI a program that is not there is a failure, and not a reason to skip. */
export const hasPrometheus = isCi || spawnSync('prometheus', ['--version']).error === undefined;
if (!hasPrometheus) console.warn('skipped: no `prometheus` to start; `apt-get install prometheus`');

export interface Sample {
  readonly metric: Record<string, string>;
  readonly value: readonly [time: number, value: string];
}

export interface Rule {
  readonly name: string;
  readonly health: string;
  readonly lastError?: string;
  readonly alerts?: readonly { readonly labels: Record<string, string>; readonly state: string }[];
}

export interface PrometheusServer {
  query(expression: string): Promise<Sample[]>;
  rules(): Promise<Rule[]>;
  stop(): Promise<void>;
}

/** A server of the test's own that scrapes `/metrics` of one address each second. */
export async function startPrometheus(target: string, ruleFile: string): Promise<PrometheusServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nac-prometheus-'));
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [ruleFile],
    scrape_configs: [{ job_name: 'shop', static_configs: [{ targets: [target] }] }],
  };
  await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr.on('data', chunk => (log += chunk));
  const exited = new Promise(resolve => child.once('exit', resolve));
  for (let tries = 0; !(await isReady(url)); tries++) {
    if (tries > 400 || child.exitCode !== null) throw new Error(`no prometheus at port ${port}: ${log}`);
    await new Promise(resolve => setTimeout(resolve, 25));
  }
  return {
    query: async expression =>
      (await get<{ result: Sample[] }>(`${url}/api/v1/query?query=${encodeURIComponent(expression)}`)).result,
    rules: async () =>
      (await get<{ groups: { rules: Rule[] }[] }>(`${url}/api/v1/rules`)).groups.flatMap(
        ({ rules }) => rules,
      ),
    async stop() {
      child.kill('SIGTERM');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function get<T>(url: string): Promise<T> {
  const answer = (await (await fetch(url)).json()) as { status: string; error?: string; data: T };
  if (answer.status !== 'success') throw new Error(`${answer.error} in ${decodeURIComponent(url)}`);
  return answer.data;
}

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/-/ready`).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}
