/**
 * `node bench/server.mjs <variant> <platform> <database>` with an IPC channel: one application on a free
 * loopback port. It answers `usage` with the CPU microseconds of its process so far, and ends when the
 * process that started it goes away.
 */
import { keepTickShape } from './tick-shape.mjs';
import { MONITOR_VARIANTS, REPORT_VARIANTS, UnavailableError, VARIANTS } from './variants.mjs';

const [name, platform, database] = process.argv.slice(2);
const { create, preload } = VARIANTS[name] ?? MONITOR_VARIANTS[name] ?? REPORT_VARIANTS[name];
/** What the variant itself counts. */
let counted;

async function connect() {
  if (database === 'none') return {};
  if (database === 'stub') {
    const { connectStub, STATEMENT } = await import('./stub-pg.mjs');
    return { database: await connectStub(), statement: STATEMENT };
  }
  const { connectServer, SERVER_STATEMENT } = await import('./postgres.mjs');
  return { database: connectServer(), statement: SERVER_STATEMENT };
}

function usage() {
  const { user, system } = process.cpuUsage();
  return { cpuMicros: user + system, rssBytes: process.memoryUsage.rss(), ...counted?.() };
}

process.on('disconnect', () => process.exit());
// No gc() between rounds: it shrinks the young generation, and bare Nest reads 19 µs instead of 12 (Node 20).
process.on('message', () => process.send(usage()));

try {
  await keepTickShape();
  if (preload) await import(preload);
  const variant = await create();
  counted = variant.usage;
  const { listen } = await import('./app.mjs');
  process.send({ port: await listen({ platform, variant, ...(await connect()) }) });
} catch (error) {
  if (!(error instanceof UnavailableError)) throw error;
  process.send({ unavailable: error.message });
}
