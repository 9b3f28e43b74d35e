import type BetterSqlite3 from 'better-sqlite3';
import { createConnection as connectMariadb } from 'mariadb';
import mysql from 'mysql2/promise';
import { createRequire } from 'node:module';
import { Client } from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp } from '../support/platforms';
import { type QuotingMode, SECRETS, secretStatementsByMode } from '../support/secret-statements';

type Run = (text: string) => unknown;

/** A session of a real driver that quotes as a mode says. */
interface Session {
  readonly run: Run;
  readonly end: () => unknown;
}

const mariadbUrl = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const SQL_MODES = [
  'NO_BACKSLASH_ESCAPES',
  'ANSI_QUOTES',
  'ANSI_QUOTES,NO_BACKSLASH_ESCAPES',
  'MSSQL',
] as const;
const load = createRequire(import.meta.url);
/** better-sqlite3 13 ends a process of Node 20 when a database is opened; node:sqlite came with 22. */
const hasSqlite = Number.parseInt(process.versions.node, 10) >= 22;

interface SqliteOptions {
  readonly enableDoubleQuotedStringLiterals?: boolean;
}

async function openPg(): Promise<Session> {
  const client = new Client({
    connectionString: databaseUrl(),
    options: '-c standard_conforming_strings=off',
  });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('SET escape_string_warning = off');
  await client.query('CREATE TEMP TABLE users (name text, password text, path text, data jsonb)');
  return { run: text => client.query(text), end: () => client.end() };
}

async function openPostgres(): Promise<Session> {
  const sql = postgres(databaseUrl(), { max: 1, onnotice: () => undefined });
  await sql.unsafe('SET standard_conforming_strings = off; SET escape_string_warning = off');
  await sql.unsafe('CREATE TEMP TABLE users (name text, password text, path text, data jsonb)');
  return { run: text => sql.unsafe(text), end: () => sql.end() };
}

async function openMysql2(mode: string): Promise<Session> {
  const connection = await mysql.createConnection({ uri: mariadbUrl });
  await connection.query(`SET sql_mode = '${mode}'`);
  await connection.query('CREATE TEMPORARY TABLE users (name text, password text, path text, `a\\` text)');
  return { run: text => connection.query(text), end: () => connection.end() };
}

async function openMariadb(mode: string): Promise<Session> {
  const { hostname, port, username, password, pathname } = new URL(mariadbUrl);
  const connection = await connectMariadb({
    host: hostname,
    port: Number(port || 3306),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: pathname.slice(1),
  });
  await connection.query(`SET sql_mode = '${mode}'`);
  await connection.query('CREATE TEMPORARY TABLE users (name text, password text, path text, `a\\` text)');
  return { run: text => connection.query(text), end: () => connection.end() };
}

function openNodeSqlite(): Session {
  const { DatabaseSync } = load('node:sqlite') as {
    DatabaseSync: new (path: string, options: SqliteOptions) => BetterSqlite3.Database;
  };
  return openSqlite(new DatabaseSync(':memory:', { enableDoubleQuotedStringLiterals: true }));
}

function openBetterSqlite(): Session {
  return openSqlite(new (load('better-sqlite3') as typeof BetterSqlite3)(':memory:'));
}

function openSqlite(db: BetterSqlite3.Database): Session {
  db.exec('CREATE TABLE users (name TEXT, password TEXT)');
  const run: Run = text => {
    const statement = db.prepare(text);
    return /^(?:SELECT|VALUES)/.test(text) ? statement.all() : statement.run();
  };
  return { run, end: () => db.close() };
}

const SESSIONS: readonly [
  name: string,
  mode: QuotingMode,
  open: () => Session | Promise<Session>,
  runs: number,
][] = [
  // An embedded engine has one session, which others need as it is.
  ...(isEmbedded
    ? []
    : ([
        ['pg', 'standard_conforming_strings = off', openPg, 20],
        ['postgres', 'standard_conforming_strings = off', openPostgres, 20],
      ] as [string, QuotingMode, () => Promise<Session>, number][])),
  ...SQL_MODES.flatMap(
    mode =>
      [
        ['mysql2', mode, () => openMysql2(mode), 4],
        ['mariadb', mode, () => openMariadb(mode), 4],
      ] as const,
  ).map(session => [...session] as [string, QuotingMode, () => Promise<Session>, number]),
  ...(hasSqlite
    ? ([
        ['node:sqlite', 'double-quoted strings', openNodeSqlite, 20],
        // It is built without them, and refuses the most.
        ['better-sqlite3', 'double-quoted strings', openBetterSqlite, 1],
      ] as [string, QuotingMode, () => Session, number][])
    : []),
];

describe('a session that quotes otherwise', () => {
  let test: TestApp;

  beforeAll(async () => {
    for (const [name] of SESSIONS) load(name);
    test = await startApp({
      budget: { queries: 1, perTable: { users: 1 } },
      breachWindowMs: 0,
      slowAfterMs: 1,
    });
  });
  afterAll(() => test.close());

  it.each(SESSIONS)(
    'leaves no literal in a record or a log line: %s, %s',
    async (_name, mode, open, runs) => {
      const statements = secretStatementsByMode.filter(statement => statement.mode === mode);
      const session = await open();
      const context = test.app.get(ContextService);
      const before = test.sink.records.length;
      const lines = test.logs.lines.length;
      let answered = 0;
      for (const { text } of statements) {
        await context.run({ handler: 'Users.list' }, async () => {
          for (let i = 0; i < 2; i += 1) {
            // Some are refused: what they leave counts all the same.
            await Promise.resolve()
              .then(() => session.run(text))
              .then(
                () => (answered += 1),
                () => undefined,
              );
          }
        });
      }
      await session.end();
      const records = (await test.records(before + statements.length)).slice(before);
      const texts = [...records, ...test.logs.lines.slice(lines)].map(one => JSON.stringify(one));
      expect(texts.filter(text => SECRETS.test(text))).toEqual([]);
      expect(answered).toBeGreaterThanOrEqual(runs);
      expect(
        records.filter(({ queries }) => queries.count + queries.transactions > 0).length * 2,
      ).toBeGreaterThanOrEqual(runs);
    },
  );
});
