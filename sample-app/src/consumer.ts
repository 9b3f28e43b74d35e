import 'reflect-metadata';
import { consume } from './records/consume';

/** Takes cost records from RECORDS_FROM to DATABASE_URL until SIGTERM or SIGINT. */
async function main(): Promise<void> {
  const { DATABASE_URL, RECORDS_FROM } = process.env;
  if (DATABASE_URL === undefined || RECORDS_FROM === undefined) {
    throw new Error('set DATABASE_URL (postgres://…) and RECORDS_FROM (nats://… or redis://…)');
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort());
  await consume(RECORDS_FROM, stop.signal);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
