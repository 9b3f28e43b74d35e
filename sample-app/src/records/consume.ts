import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { once } from 'node:events';
import { Pool } from 'pg';
import { startDatabase } from '../database/database-server';
import { brokerAt } from './broker';
import { RecordsModule } from './records.module';

/** Takes cost records from a broker to PostgreSQL until it is to stop. */
export async function consume(url: string, stop: AbortSignal): Promise<void> {
  const database = await startDatabase();
  const pool = new Pool({ connectionString: database.url, max: database.connections });
  // Without a listener the end of an idle connection would be the end of the process.
  pool.on('error', error => console.error(`an idle connection was lost: ${error.message}`));
  try {
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(
      RecordsModule.forRoot(pool),
      brokerAt(url),
    );
    await app.listen();
    console.log(`Taking cost records from ${url} to ${database.name} until Ctrl+C.`);
    if (!stop.aborted) await once(stop, 'abort');
    await app.close();
    const { rows } = await pool.query<{ handler: string; records: string }>(
      'SELECT handler, count(*) AS records FROM public.received_cost_records GROUP BY handler ORDER BY count(*) DESC LIMIT 10',
    );
    console.table(rows);
  } finally {
    await pool.end();
    await database.stop();
  }
}
