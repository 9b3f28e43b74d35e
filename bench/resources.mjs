/**
 * What the resource monitor costs on Fastify: off, and on with the shares that it looks at.
 *
 *   npm run build && node bench/resources.mjs [--rounds 7] [--requests 12000]
 */
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { median } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';
import { MONITOR_VARIANTS } from './variants.mjs';

const HANDLERS = { '/hello': 'hello', '/services': 'ten awaits', '/timer': 'one timer' };
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    requests: { type: 'string', default: '12000' },
  },
});
const rounds = Number(values.rounds);
const requests = Number(values.requests);

async function startServer(variant) {
  const process = new Child('./server.mjs', {
    args: [variant, 'fastify', 'none'],
    execArgv: ['--no-warnings'],
  });
  const { port, unavailable } = await process.answer();
  if (unavailable) throw new Error(unavailable);
  return { variant, process, port, samples: [] };
}

async function measure({ process, port }, load, path) {
  const before = await process.ask('usage');
  const { elapsedMs } = await load.ask({ port, path, requests });
  const after = await process.ask('usage');
  return {
    cpuMicros: (after.cpuMicros - before.cpuMicros) / requests,
    perSecond: (requests / elapsedMs) * 1_000,
  };
}

async function compare(path, load) {
  const servers = await Promise.all(Object.keys(MONITOR_VARIANTS).map(startServer));
  try {
    // The first three rounds are for the optimising compiler.
    for (let round = -3; round < rounds; round++) {
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        const sample = await measure(server, load, path);
        if (round >= 0) server.samples.push(sample);
      }
    }
  } finally {
    await Promise.all(servers.map(server => server.process.end()));
  }
  const off = servers[0].samples;
  return servers.map(({ variant, samples }) => [
    MONITOR_VARIANTS[variant].label,
    figure(median(samples.map(({ perSecond }) => perSecond)), 0),
    figure(median(samples.map(({ cpuMicros }) => cpuMicros)), 1),
    samples === off
      ? ''
      : signed(median(samples.map(({ cpuMicros }, round) => cpuMicros - off[round].cpuMicros)), 1),
  ]);
}

const load = new Child('./load.mjs');
try {
  for (const [path, label] of Object.entries(HANDLERS)) {
    console.log(`\n### ${label}, Fastify, Node ${process.versions.node} (${rounds} x ${requests})\n`);
    console.log(table(['monitor', 'requests/s', 'CPU µs/request', 'added µs'], await compare(path, load)));
  }
} finally {
  await load.end();
}
