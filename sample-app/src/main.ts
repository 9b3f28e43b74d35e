import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import { ContextLogger } from 'nestjs-async-context';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Pool } from 'pg';
import { AppModule } from './app.module';
import { startDatabase } from './database/database-server';
import { dropSeed, SCHEMA, seed } from './database/seed';
import { StatisticsSink } from './traffic/statistics.sink';
import { tableOf } from './traffic/table';
import { sendMinute } from './traffic/traffic';

const TRAFFIC_MS = 10_000;

async function main(serve: boolean): Promise<void> {
  const database = await startDatabase();
  const pool = new Pool({
    connectionString: database.url,
    max: database.connections,
    options: `-c search_path=${SCHEMA}`,
  });
  console.log(`Seeding a shop of 10,000 orders into ${database.name} …`);
  await seed(pool);

  const sink = new StatisticsSink();
  const app = await NestFactory.create(AppModule.forRoot(pool, sink), {
    logger: new ContextLogger({ logLevels: ['warn', 'error'], colors: Boolean(process.stdout.isTTY) }),
    forceCloseConnections: true,
  });
  app.useWebSocketAdapter(new WsAdapter(app));
  const server = await app.listen(serve ? 3_000 : 0, '127.0.0.1');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  if (serve) {
    console.log(`Serving on ${url} until Ctrl+C. Try: curl -i '${url}/orders/one-by-one?count=60'`);
    await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  } else {
    console.log(`Sending a minute's worth of mixed traffic to ${url} in ${TRAFFIC_MS / 1_000} seconds …\n`);
    console.log(`\n${await sendMinute(url, TRAFFIC_MS)} requests were sent. What they cost, by handler:\n`);
  }

  // Closing writes the last cost records to the sink.
  await app.close();
  if (!serve) {
    console.log(tableOf(sink.handlers()));
    console.log(
      "\nNext: npm start -- --serve, then curl -i 'http://127.0.0.1:3000/orders/one-by-one?count=60'",
    );
  }
  await dropSeed(pool);
  await pool.end();
  await database.stop();
}

void main(process.argv.includes('--serve'));
