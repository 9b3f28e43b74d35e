import { Controller, Get } from '@nestjs/common';
import { Pool } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

const needsServer = isEmbedded && !process.env['CI'];

let pool: Pool;
let test: TestApp;
let holding = false;
const overloads = (): string[] => test.logs.of('warn', 'Overload');

@Controller()
class PaymentsController {
  @Get('capture')
  async capture(): Promise<void> {
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query('SELECT 1 FROM pg_class LIMIT 1');
    holding = true;
    await until(() => overloads().length > 0, 'overload');
    await client.query('COMMIT');
    client.release();
  }

  @Get('list')
  async list(): Promise<void> {
    await pool.query('SELECT 1');
  }
}

describe.skipIf(needsServer)('an overload because of a pool', () => {
  beforeEach(async () => {
    holding = false;
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({
      controllers: [PaymentsController],
      overload: { poolWaitMs: 100, targetDelayMs: 5_000 },
    });
  });
  afterEach(async () => {
    await test.close();
    await pool.end();
  });

  it('names who holds it, and what to do about that', async () => {
    const holder = fetch(`${test.url}/capture`);
    await until(() => holding, 'full pool');
    await Promise.all([holder, fetch(`${test.url}/list`)]);
    const [line = ''] = overloads();
    expect(line).toMatch(/^The process is overloaded: requests wait at least [\d,.]+ ms for a connection/);
    expect(line).toMatch(
      /holder PaymentsController\.capture, 1 for [\d,]+ ms: idle in a transaction, last: SELECT/,
    );
    expect(line).toContain('fix    PaymentsController.capture does other work in an open transaction');
    const { fields } = test.logs.lines.find(({ context }) => context === 'Overload')!;
    expect(fields).toMatchObject({
      cause: 'pool-wait',
      driver: 'pg',
      'holder1.handler': 'PaymentsController.capture',
    });
  });
});
