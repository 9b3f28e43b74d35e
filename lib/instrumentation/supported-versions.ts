import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { folderOfPackage, loadedFiles } from '../kernel/loaded-files';
import { isOwnDependency } from './own-dependencies';

/** By package: the instrumentation that covers it, its oldest version and its newest major, as the tests have seen them. */
const SUPPORTED: ReadonlyMap<string, readonly [driver: string, from: string, to: number]> = new Map([
  ['pg', ['pg', '8.0', 8]],
  ['postgres', ['postgres', '3.0', 3]],
  ['@electric-sql/pglite', ['@electric-sql/pglite', '0.5', 0]],
  ['mysql2', ['mysql2', '3.20', 3]],
  ['mariadb', ['mariadb', '3.4', 3]],
  ['mssql', ['mssql', '9.0', 12]],
  ['tedious', ['mssql', '15.0', 20]],
  ['tarn', ['tarn', '3.0', 3]],
  ['better-sqlite3', ['better-sqlite3', '12.0', 13]],
  ['mongodb', ['mongodb', '6.0', 7]],
  ['@elastic/elasticsearch', ['@elastic/elasticsearch', '8.0', 9]],
  ['@aws-sdk/client-dynamodb', ['@aws-sdk/client-dynamodb', '3.0', 3]],
  ['ioredis', ['ioredis', '5.0', 6]],
  ['redis', ['redis', '5.0', 6]],
  ['bullmq', ['bullmq', '5.0', 6]],
  ['amqplib', ['amqplib', '0.10', 2]],
  ['nats', ['nats', '2.0', 2]],
  ['@nats-io/transport-node', ['nats', '3.0', 3]],
  ['kafkajs', ['kafkajs', '2.0', 2]],
  ['undici', ['http', '6.0', 8]],
  ['dataloader', ['dataloader', '2.0', 2]],
]);

/** A client of the application that has been loaded in a version that is not supported. */
export interface UnsupportedClient {
  readonly driver: string;
  readonly message: string;
}

/** By folder; `undefined` for what is supported, not known or not the application's. */
const looked = new Map<string, UnsupportedClient | undefined>();

/**
 * The clients of the application that the process has loaded so far in a version that is not supported. Those
 * that its packages bring along are left out: nobody could do anything about them.
 */
export function unsupportedClients(): UnsupportedClient[] {
  const found = new Set<UnsupportedClient>();
  for (const name of SUPPORTED.keys()) {
    for (const path of loadedFiles(name)) {
      const folder = folderOfPackage(name, path);
      if (!looked.has(folder)) looked.set(folder, lookAt(name, folder));
      const client = looked.get(folder);
      if (client !== undefined) found.add(client);
    }
  }
  return [...found];
}

function lookAt(name: string, folder: string): UnsupportedClient | undefined {
  const [driver, from, to] = SUPPORTED.get(name) ?? ['', '', 0];
  const version = versionIn(folder);
  if (version === undefined || isSupported(version, from, to) || !isOwnDependency(name, folder))
    return undefined;
  const oldest = from.replace(/\.0$/, '');
  const range = oldest === String(to) ? `${to}.x` : `${oldest} to ${to}.x`;
  const message = `${name} ${version} is not supported: use ${range}; otherwise its calls may not be counted, or may be charged to other requests`;
  return { driver, message };
}

function isSupported(version: string, from: string, to: number): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [fromMajor = 0, fromMinor = 0] = from.split('.').map(Number);
  return major <= to && (major > fromMajor || (major === fromMajor && minor >= fromMinor));
}

function versionIn(folder: string): string | undefined {
  try {
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      version?: unknown;
    };
    // `1.2.3`, maybe with a tag; what a package writes there goes into the log.
    return typeof version === 'string' ? /^\d+\.\d+\.\d+[\w.-]{0,40}$/.exec(version)?.[0] : undefined;
  } catch {
    // Bundled, or moved.
    return undefined;
  }
}
