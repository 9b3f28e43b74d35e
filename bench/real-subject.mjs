/**
 * `node bench/real-subject.mjs <variant> <platform> <handler> <mode> [instrumentation]` with an IPC channel: answers
 * what its process has used so far: what `mode` looks at, and the CPU time, which means something in `time` alone.
 */
import { createHook } from 'node:async_hooks';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { keepTickShape } from './tick-shape.mjs';
import { REAL_VARIANTS } from './variants.mjs';

const [name, platform, handler, mode, instrumentation] = process.argv.slice(2);
const used = {};
const add = (key, amount) => (used[key] = (used[key] ?? 0) + amount);

function noteCollections(list) {
  for (const { duration, detail } of list.getEntries()) {
    add('gcMs', duration);
    if (detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) add('scavenges', 1);
  }
}

let heapAfterGc = 0;
/** The young generation is so large that nothing is collected between two questions. */
function noteAllocation() {
  add('heapBytes', process.memoryUsage().heapUsed - heapAfterGc);
  globalThis.gc();
  heapAfterGc = process.memoryUsage().heapUsed;
}

async function start() {
  await keepTickShape();
  const { create, preload } = REAL_VARIANTS[name];
  // The hooks have to be in place before the first import of Nest and of the driver.
  const otel = preload && (await import(preload));
  if (otel && instrumentation) await otel.instrument(instrumentation);
  const variant = await create();
  const { HANDLERS } = await import('./real-handlers.mjs');
  const handle = await HANDLERS[handler].connect();
  const { listen } = await import('./app.mjs');
  return { port: await listen({ platform, variant, handle }), counted: variant.usage };
}

process.on('disconnect', () => process.exit());
if (mode === 'gc') new PerformanceObserver(noteCollections).observe({ entryTypes: ['gc'] });
if (mode === 'resources') createHook({ init: (_id, type) => void add(`made ${type}`, 1) }).enable();
const { port, counted } = await start();
process.on('message', async () => {
  if (mode === 'bytes') noteAllocation();
  // What the last collections took is told some turns later.
  if (mode === 'gc') await setTimeout(50);
  const { user, system } = process.cpuUsage();
  process.send({ cpuMicros: user + system, ...used, ...counted?.() });
});
process.send({ port });
