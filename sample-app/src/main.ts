import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import { ContextLogger, ContextService, MemorySink, traceProviders } from 'nestjs-async-context';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Pool } from 'pg';
import { AppModule } from './app.module';
import { startDatabase } from './database/database-server';
import { dropSeed, SCHEMA, seed } from './database/seed';
import { recordsTo } from './records/broker';
import { consume } from './records/consume';
import { takeTour } from './tour/tour';
import { StatisticsSink } from './traffic/statistics.sink';
import { tableOf } from './traffic/table';
import { sendMinute } from './traffic/traffic';

const TRAFFIC_MS = 10_000;

/** The value behind a flag, such as the broker of `--consume nats://127.0.0.1:4222`. */
function valueOf(flag: string): string | undefined {
  const at = process.argv.indexOf(flag);
  return at < 0 ? undefined : process.argv[at + 1];
}

/** What is to be done with the shop: `--serve` it, send it `--traffic`, or show one thing after the other. */
type Mode = 'tour' | 'traffic' | 'serve';

async function main(mode: Mode): Promise<void> {
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
    if (!stop.signal.aborted) await run(pool, mode, stop.signal);
  } finally {
    // Also when something failed: the database may be the reader's own.
    await dropSeed(pool);
    await pool.end();
    await database.stop();
  }
}

async function run(pool: Pool, mode: Mode, stop: AbortSignal): Promise<void> {
  const sink = new StatisticsSink();
  const memory = new MemorySink();
  const broker = valueOf('--records');
  const sinks = [sink, memory, ...(broker === undefined ? [] : [recordsTo(broker)])];
  const reports = process.argv.includes('--verbose') ? 'full' : 'short';
  const app = await NestFactory.create(AppModule.forRoot(pool, { sinks, reports }), {
    // For a person to read, also where it goes to a file.
    logger: new ContextLogger({ logLevels: ['warn', 'error'], short: true }),
    forceCloseConnections: true,
    instrument: traceProviders(),
  });
  app.useWebSocketAdapter(new WsAdapter(app));
  try {
    const server = await app.listen(mode === 'serve' ? (process.env['PORT'] ?? 3_000) : 0, '127.0.0.1');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    if (mode === 'serve') {
      console.log(`Serving on ${url} until Ctrl+C. Try: curl -i '${url}/orders/one-by-one?count=60'\n`);
      if (!stop.aborted) await once(stop, 'abort');
    } else if (mode === 'traffic') {
      console.log(`Sending a minute's worth of mixed traffic to ${url} in ${TRAFFIC_MS / 1_000} seconds …\n`);
      const { sent, unanswered } = await sendMinute(url, TRAFFIC_MS, stop);
      console.log(`\n${sent} requests were sent, ${unanswered} got no answer.`);
    } else {
      const context = app.get(ContextService);
      const missing = await takeTour(
        url,
        () => memory.records,
        () => context.flush(),
        stop,
      );
      for (const title of missing) console.error(`\nThis did not show: ${title}`);
      if (missing.length > 0) process.exitCode = 1;
    }
  } finally {
    // Closing writes the last cost records to the sink.
    await app.close();
  }
  console.log(`\nWhat each handler cost:\n\n${tableOf(sink.handlers())}`);
  if (mode !== 'serve') {
    console.log(
      "\nNext: npm start -- --serve, then curl -i 'http://127.0.0.1:3000/orders/one-by-one?count=60'",
    );
    console.log('      npm start -- --traffic for ten seconds of load, --verbose for all that is known');
  }
}

const has = (flag: string): boolean => process.argv.includes(flag);
void main(has('--serve') ? 'serve' : has('--traffic') || has('--records') ? 'traffic' : 'tour');
