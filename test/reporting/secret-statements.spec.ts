import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord, NdjsonFileSink } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp } from '../support/platforms';
import { SECRETS, secretStatements } from '../support/secret-statements';

// They would run a program, or connect to another server, also where nothing may be written.
const NOT_RUN = /PROGRAM|SUBSCRIPTION|dblink/;

describe('statements with secrets', () => {
  const folder = mkdtempSync(join(tmpdir(), 'secrets-'));
  const path = join(folder, 'cost.ndjson');
  let test: TestApp;
  let context: ContextService;

  beforeAll(async () => {
    test = await startApp({
      budget: { queries: 1, perTable: { users: 1 } },
      breachWindowMs: 0,
      reportsPerMinute: 1_000_000,
      slowAfterMs: 1,
      lateAfterMs: 0,
      canonicalLog: true,
      sinks: [new NdjsonFileSink({ path })],
    });
    context = test.app.get(ContextService);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('there are 200, and 84 of sessions that quote otherwise, each with one', () => {
    expect(secretStatements).toHaveLength(284);
    expect(new Set(secretStatements.map(({ text, system, mode }) => system + mode + text)).size).toBe(284);
    expect(secretStatements.filter(({ text }) => !SECRETS.test(text))).toEqual([]);
  });

  it('leave none in any sink or log line, when they are recorded', async () => {
    // A handler each: the same one is said to be slow once a minute.
    for (const [i, { system, text }] of secretStatements.entries()) {
      const late = context.run({ kind: 'http', handler: `Orders.list${i}` }, () => {
        for (let i = 0; i < 6; i += 1) context.record({ system, statement: text, durationMs: 1_000 });
        return context.snapshot();
      });
      late(() => context.record({ system, statement: text, durationMs: 1 }));
    }
    await test.records(secretStatements.length);
    expect(leaks(test.sink.records.map(record => JSON.stringify(record)))).toEqual([]);
    expect(leaks(textsOf(test))).toEqual([]);
    expect(test.logs.of('error', 'QueryBudget')).toHaveLength(secretStatements.length);
  });

  it('leave none in any sink or log line, when PostgreSQL runs or refuses them', async () => {
    const statements = secretStatements.filter(
      ({ system, text, mode }) => system === 'postgresql' && mode === undefined && !NOT_RUN.test(text),
    );
    const client = new Client({ connectionString: databaseUrl() });
    client.on('error', () => undefined);
    await client.connect();
    await client.query("SET statement_timeout = '2s'");
    const before = test.sink.records.length;
    let refused = 0;
    for (const [i, { text }] of statements.entries()) {
      await context.run({ kind: 'http', handler: `Orders.find${i}` }, async () => {
        await client.query('BEGIN READ ONLY');
        for (let i = 0; i < 2; i += 1) await client.query(text).catch(() => (refused += 1));
        await client.query('ROLLBACK');
      });
    }
    await client.end();
    const records = (await test.records(before + statements.length)).slice(before);
    expect(refused).toBeGreaterThan(100);
    expect(records.filter(({ queries }) => queries.count + queries.transactions < 4)).toEqual([]);
    expect(leaks(records.map(record => JSON.stringify(record)))).toEqual([]);
    expect(leaks(textsOf(test))).toEqual([]);
  });

  it('leave none in the file of records', async () => {
    await test.close();
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(secretStatements.length);
    expect(leaks(lines)).toEqual([]);
    const shapes = (lines.map(line => JSON.parse(line)) as CostRecord[]).flatMap(
      ({ queries }) => queries.shapes,
    );
    expect(shapes.length).toBeGreaterThan(secretStatements.length);
  });
});

/** What was logged, as text and as fields. */
function textsOf(test: TestApp): string[] {
  return test.logs.lines.map(({ message, fields }) => inspect(message) + JSON.stringify({ message, fields }));
}

/** With enough of each to see what it is of. */
function leaks(texts: readonly string[]): string[] {
  return texts.flatMap(text => {
    const found = SECRETS.exec(text);
    return found === null ? [] : text.slice(Math.max(0, found.index - 120), found.index + 40);
  });
}
