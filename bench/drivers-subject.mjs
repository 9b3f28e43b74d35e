/**
 * `node bench/drivers-subject.mjs NAME VARIANT` with an IPC channel: answers each question with the CPU
 * nanoseconds that one query of a driver took, in a unit of work of its own.
 */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { createRequire } from 'node:module';

const library = createRequire(import.meta.url)('../dist/index.js');
const [name, variant] = process.argv.slice(2);

/** What the driver's client does as one query is counted as so many. */
const countOf = ({ queries, cache, http, messages }) => queries + cache + http + messages;

const { connect, instrumentation } = await import(`./drivers/${name}.mjs`);
const { query, close } = await connect();
// Bare is in a unit of work as well: what is measured is the hook, not the context.
const app = await NestFactory.createApplicationContext(
  library.AsyncContextModule.forRoot({
    instrumentations: variant === 'bare' ? [] : [library[instrumentation]()],
  }),
  { logger: false },
);
const context = app.get(library.ContextService);

async function measure(times) {
  const begin = process.cpuUsage();
  for (let i = 0; i < times; i++) await query();
  const { user, system } = process.cpuUsage(begin);
  return (1_000 * (user + system)) / times;
}

process.on('message', async ({ times }) => {
  await context.run({ handler: 'Bench.run' }, async () => {
    const nanos = await measure(times);
    const counted = countOf(context.cost);
    const expected = variant === 'bare' ? 0 : times;
    const error = counted === expected ? undefined : `${counted} of ${expected} queries were counted`;
    process.send({ nanos, error });
  });
});
process.on('disconnect', async () => {
  await close?.();
  process.exit();
});
process.send({ ready: true });
