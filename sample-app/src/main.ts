import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import { ContextLogger, traceProviders } from 'nestjs-async-context';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Pool } from 'pg';
import { AppModule } from './app.module';
import { startDatabase } from './database/database-server';
import { dropSeed, SCHEMA, seed } from './database/seed';
import { recordsTo } from './records/broker';
import { consume } from './records/consume';
import { StatisticsSink } from './traffic/statistics.sink';
import { tableOf } from './traffic/table';
import { sendMinute } from './traffic/traffic';

const TRAFFIC_MS = 10_000;

/** The value behind a flag, such as the broker of `--consume nats://127.0.0.1:4222`. */
function valueOf(flag: string): string | undefined {
  const at = process.argv.indexOf(flag);
  return at < 0 ? undefined : process.argv[at + 1];
}

async function main(serve: boolean): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort());

  const broker = valueOf('--consume');
  if (broker !== undefined) return consume(broker, stop.signal);
  const database = await startDatabase();
  const pool = new Pool({
    connectionString: database.url,
    max: database.connections,
    options: `-c search_path=${SCHEMA}`,
  });
  // Without a listener the end of an idle connection would be the end of the process.
  pool.on('error', error => console.error(`an idle connection was lost: ${error.message}`));
  try {
    console.log(`Seeding a shop of 10,000 orders into ${database.name} …`);
    await seed(pool);
    if (!stop.signal.aborted) await run(pool, serve, stop.signal);
  } finally {
    // Also when something failed: the database may be the reader's own.
    await dropSeed(pool);
    await pool.end();
    await database.stop();
  }
}

async function run(pool: Pool, serve: boolean, stop: AbortSignal): Promise<void> {
  const sink = new StatisticsSink();
  const broker = valueOf('--records');
  const sinks = broker === undefined ? [sink] : [sink, recordsTo(broker)];
  const app = await NestFactory.create(AppModule.forRoot(pool, { sinks }), {
    logger: new ContextLogger({ logLevels: ['warn', 'error'], colors: Boolean(process.stdout.isTTY) }),
    forceCloseConnections: true,
    instrument: traceProviders(),
  });
  app.useWebSocketAdapter(new WsAdapter(app));
  try {
    const server = await app.listen(serve ? (process.env['PORT'] ?? 3_000) : 0, '127.0.0.1');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    if (serve) {
      console.log(`Serving on ${url} until Ctrl+C. Try: curl -i '${url}/orders/one-by-one?count=60'\n`);
      if (!stop.aborted) await once(stop, 'abort');
    } else {
      console.log(`Sending a minute's worth of mixed traffic to ${url} in ${TRAFFIC_MS / 1_000} seconds …\n`);
      const { sent, unanswered } = await sendMinute(url, TRAFFIC_MS, stop);
      console.log(`\n${sent} requests were sent, ${unanswered} got no answer.`);
    }
  } finally {
    // Closing writes the last cost records to the sink.
    await app.close();
  }
  console.log(`What they cost, by handler:\n\n${tableOf(sink.handlers())}`);
  if (!serve) {
    console.log(
      "\nNext: npm start -- --serve, then curl -i 'http://127.0.0.1:3000/orders/one-by-one?count=60'",
    );
  }
}

void main(process.argv.includes('--serve'));
