import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  type AsyncContextOptions,
  ContextLogger,
  NdjsonFileSink,
  traceProviders,
} from 'nestjs-async-context';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { Pool } from 'pg';
import { SCHEMA, seedOnce } from './database/seed';
import { recordsTo } from './records/broker';
import { ServerModule } from './server.module';

/** Three files of it fit into the 64 MB of `/tmp` that the manifests give. */
const MAX_FILE_BYTES = 16 * 1_024 * 1_024;

/** Serves until SIGTERM or SIGINT; all settings are variables of the environment. */
async function main(): Promise<void> {
  const { DATABASE_URL, HOST = '0.0.0.0', PORT = '3000', SHUTDOWN_DELAY_MS = '0' } = process.env;
  const { COST_FILE, RECORDS_TO } = process.env;
  if (DATABASE_URL === undefined) {
    throw new Error('DATABASE_URL is not set: postgres://user:password@host:5432/database');
  }
  const pool = new Pool({ connectionString: DATABASE_URL, options: `-c search_path=${SCHEMA}` });
  const logger = new ContextLogger({ json: true, logLevels: ['log', 'warn', 'error', 'fatal'] });
  // Without a listener the end of an idle connection would be the end of the process.
  pool.on('error', error => logger.warn(`an idle connection was lost: ${error.message}`, 'Database'));
  await seedOnce(pool);

  const options: AsyncContextOptions = {
    sinks: [
      new PrometheusSink(),
      ...(COST_FILE ? [new NdjsonFileSink({ path: COST_FILE, maxBytes: MAX_FILE_BYTES, maxFiles: 2 })] : []),
      ...(RECORDS_TO ? [recordsTo(RECORDS_TO)] : []),
    ],
    // On each line, beside the request and the user.
    logFields: context => ({ role: context.user?.role }),
    canonicalLog: ({ handler }) => handler !== undefined && !/^(?:Health|Metrics)Controller\./.test(handler),
  };
  const app = await NestFactory.create(ServerModule.forRoot(pool, options, Number(SHUTDOWN_DELAY_MS)), {
    logger,
    instrument: traceProviders(),
  });
  app.useWebSocketAdapter(new WsAdapter(app));
  // Exit code 0: as process 1 of a container it could not end itself by the signal.
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  await app.listen(PORT, HOST);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
