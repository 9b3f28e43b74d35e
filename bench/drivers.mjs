/**
 * What counting adds to one query of each driver: the real client on a stub, or on an engine, within
 * the process, so that nothing but the driver and this package is measured.
 *
 *   npm run build && node bench/drivers.mjs [name …]
 */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { median, spread } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';

const library = createRequire(import.meta.url)('../dist/index.js');

const SELF = fileURLToPath(import.meta.url);
const ROUNDS = 21;
const QUERIES = 5_000;
const QUERIES_OF_A_REQUEST = 100;

async function application(instrumentations) {
  const app = await NestFactory.createApplicationContext(
    library.AsyncContextModule.forRoot({ instrumentations }),
    { logger: false },
  );
  return { context: app.get(library.ContextService), close: () => app.close() };
}

/** Nanoseconds of the processor for one query, in requests of a hundred. */
async function measure({ context, count }, query) {
  let counted = 0;
  const begin = process.cpuUsage();
  for (let i = 0; i < QUERIES; i += QUERIES_OF_A_REQUEST) {
    await context.run({ handler: 'Bench.run' }, async () => {
      for (let j = 0; j < QUERIES_OF_A_REQUEST; j++) await query();
      counted += count(context.cost);
    });
  }
  const { user, system } = process.cpuUsage(begin);
  return { nanos: (1_000 * (user + system)) / QUERIES, counted };
}

const countOf = ({ queries, cache, http, messages }) => queries + cache + http + messages;

/** Bare and counted take turns; both in a request, so that the context itself is not part of it. */
async function compare({ connect, instrumentation }) {
  const { query, close } = await connect();
  const samples = { bare: [], counted: [] };
  for (let round = -3; round < ROUNDS; round++) {
    for (const variant of round % 2 === 0 ? ['bare', 'counted'] : ['counted', 'bare']) {
      const app = await application(variant === 'bare' ? [] : [library[instrumentation]()]);
      const { nanos, counted } = await measure({ context: app.context, count: countOf }, query);
      const expected = variant === 'bare' ? 0 : QUERIES;
      if (counted !== expected) throw new Error(`${instrumentation}: ${counted} of ${expected} were counted`);
      if (round >= 0) samples[variant].push(nanos);
      await app.close();
    }
  }
  await close?.();
  const added = samples.counted.map((nanos, round) => nanos - samples.bare[round]);
  return { bare: median(samples.bare), added: median(added), spread: spread(added) };
}

async function rowOf(name) {
  try {
    const { bare, added, spread } = await compare(await import(`./drivers/${name}.mjs`));
    return [name, figure(bare / 1_000, 2), signed(added / 1_000, 2), figure(spread / 1_000, 2)];
  } catch (error) {
    return [name, `not measured: ${error.message}`, '', ''];
  }
}

/** Each driver in a process of its own: what one has made the compiler do would change the next. */
function rowsOf(names) {
  return names.map(name =>
    JSON.parse(execFileSync(process.execPath, [SELF, '--one', name], { encoding: 'utf8' })),
  );
}

const [option, one, ...others] = process.argv.slice(2);
if (option === '--one') {
  console.log(JSON.stringify(await rowOf(one)));
} else {
  const wanted = [option, one, ...others].filter(Boolean);
  const names = readdirSync(new URL('drivers/', import.meta.url)).map(file => file.replace('.mjs', ''));
  const rows = rowsOf(names.filter(name => wanted.length === 0 || wanted.includes(name)));
  console.log(`Node ${process.version}, µs a query\n\n${table(['driver', 'bare', 'added', '±'], rows)}`);
}
process.exit();
