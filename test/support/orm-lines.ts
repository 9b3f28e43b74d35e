import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { expect } from 'vitest';
import { ContextService, type RepeatFinding } from 'nestjs-async-context';
import { databaseUrl } from './database';
import { type TestApp, until } from './platforms';

/** Orders, each with a buyer and three items, in a database of its own. */
export interface LineDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

export async function createLineDatabase(): Promise<LineDatabase> {
  const name = `orm_lines_${process.pid}`;
  const url = new URL(databaseUrl());
  url.pathname = name;
  await runOn(databaseUrl(), `CREATE DATABASE ${name}`);
  await runOn(
    url.href,
    'CREATE TABLE line_customers (id int PRIMARY KEY, name text)',
    'CREATE TABLE line_orders (id int PRIMARY KEY, buyer_id int)',
    'CREATE TABLE line_items (id int PRIMARY KEY, order_id int)',
    `INSERT INTO line_customers SELECT n * 13 + 400, 'customer ' || n FROM generate_series(1, 7) n`,
    `INSERT INTO line_orders SELECT n * 7 + 100, n * 13 + 400 FROM generate_series(1, 7) n`,
    `INSERT INTO line_items SELECT n, (n % 7 + 1) * 7 + 100 FROM generate_series(1, 21) n`,
  );
  return { url: url.href, drop: () => runOn(databaseUrl(), `DROP DATABASE ${name} WITH (FORCE)`) };
}

/** Runs statements on a connection of their own, which is closed afterwards. */
async function runOn(connectionString: string, ...texts: string[]): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  for (const text of texts) await client.query(text);
  await client.end();
}

/** What a handler of an application does, by its name. */
export type Works = Readonly<Record<string, () => Promise<unknown>>>;

/** The lines of a test file that end with a comment: `// <name of the handler>: child`. */
export class MarkedLines {
  readonly #base: string;
  readonly #lines: readonly string[];

  constructor(url: string) {
    const path = fileURLToPath(url);
    this.#base = basename(path);
    this.#lines = readFileSync(path, 'utf8').split('\n');
  }

  of(marker: string): string {
    const index = this.#lines.findIndex(line => line.endsWith(`// ${marker}`));
    return `${this.#base}:${index + 1}`;
  }

  /** Expects that the N+1 of a handler names the lines that are marked, in its first request and those after it. */
  async expect(test: TestApp, handler: string, name: string, work: () => Promise<unknown>): Promise<void> {
    for (let request = 1; request <= 4; request += 1) {
      const found = await findingsOf(test, handler, work);
      const lines = found
        .filter(({ kind }) => kind === 'n-plus-one')
        .map(({ callSite, parents }) => [callSite, parents[0]?.callSite].map(withoutName));
      expect(lines).toEqual([[this.of(`${name}: child`), this.of(`${name}: parent`)]]);
    }
  }
}

/** A callback has none. */
export function withoutName(site: string | undefined): string | undefined {
  return site?.replace(/ \w+$/, '');
}

let unit = 0;

/** What is found in one unit of work. */
export async function findingsOf(
  test: TestApp,
  handler: string,
  work: () => Promise<unknown>,
): Promise<readonly RepeatFinding[]> {
  const requestId = `orm-lines-${(unit += 1)}`;
  await test.app.get(ContextService).run({ requestId, handler }, work);
  const record = await until(() => test.sink.records.find(one => one.requestId === requestId), 'record');
  return record.findings ?? [];
}
