import 'reflect-metadata';
import { Controller, Get, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { get } from 'node:http';
import type { AddressInfo } from 'node:net';
import type * as Pg from 'pg';
import { AsyncContextModule, MemorySink } from '../../lib/index';

interface Settings {
  readonly order: '-r' | '--import' | 'after';
  readonly preload: string;
  readonly database: string;
  readonly max: number;
  readonly echo: string;
}

const settings = JSON.parse(process.argv[2]!) as Settings;
if (settings.order === 'after') require(settings.preload);
// Here, so that an agent that comes after this package still comes before its client.
const { Pool } = require('pg') as typeof Pg;
const pool = new Pool({ connectionString: settings.database, max: settings.max });

@Controller()
class AgentsController {
  @Get('queries/:n')
  async queries(@Param('n') n: string): Promise<string[]> {
    const rows: string[] = [];
    for (let i = 0; i < 3; i++) {
      const result = await pool.query<{ n: string }>('SELECT pg_sleep(0.002), $1::text AS n', [n]);
      rows.push(result.rows[0]!.n);
    }
    return rows;
  }

  @Get('calls/:n')
  async calls(@Param('n') n: string): Promise<string[]> {
    const answers: string[] = [];
    for (let i = 0; i < 3; i++) answers.push(await (await fetch(`${settings.echo}/${n}`)).text());
    return answers;
  }
}

const sink = new MemorySink({ capacity: 1_000 });

@Module({
  imports: [AsyncContextModule.forRoot({ sinks: [sink], lateAfterMs: 1 })],
  controllers: [AgentsController],
})
class AppModule {}

function ask(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, response => {
      let text = '';
      response.on('data', chunk => (text += String(chunk))).on('end', () => resolve(text));
    }).on('error', reject);
  });
}

async function main(): Promise<void> {
  const warnings: string[] = [];
  const keep = (message: unknown): void => void warnings.push(String(message));
  const none = (): void => undefined;
  const logger = { log: none, debug: none, verbose: none, warn: keep, error: keep, fatal: keep };
  const app = await NestFactory.create(AppModule, { logger });
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const answers: Record<string, string[]> = {};
  for (const path of ['queries', 'calls']) {
    const all = Array.from({ length: 24 }, (_, n) => ask(`http://127.0.0.1:${port}/${path}/${n}`));
    answers[path] = await Promise.all(all);
  }
  // What the agent still sends.
  await new Promise(resolve => setTimeout(resolve, 1_500));
  await app.close();
  const late = warnings.filter(warning => warning.includes('is still working'));
  const records = sink.records.map(({ handler, queries, http }) => ({
    handler,
    queries: [queries.count, queries.late],
    http: [http?.count ?? 0, http?.late ?? 0],
  }));
  process.stdout.write(`${JSON.stringify({ answers, records, late })}\n`, () => process.exit());
}

void main();
