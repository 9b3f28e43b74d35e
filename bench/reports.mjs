/**
 * What the reports of an outage cost on Fastify: each request is slow, as when the database is, beside the
 * same load without reports.
 *
 *   npm run build && node bench/reports.mjs [--rounds 7] [--requests 6000] [--node /opt/node20/bin/node,…]
 */
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { median, spread } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';
import { REPORT_VARIANTS } from './variants.mjs';

const HANDLERS = {
  '/timer': { label: 'a timer', database: 'none', share: 1, variants: ['reports-off', 'reports-slow'] },
  '/outage': {
    label: 'ten queries and a timer, stubbed pg',
    database: 'stub',
    share: 0.5,
    variants: Object.keys(REPORT_VARIANTS),
  },
};
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    requests: { type: 'string', default: '6000' },
    node: { type: 'string', default: process.execPath },
  },
});
const rounds = Number(values.rounds);

async function startServer(variant, database, execPath) {
  const server = new Child('./server.mjs', {
    args: [variant, 'fastify', database],
    execPath,
    execArgv: ['--no-warnings'],
  });
  const { port, unavailable } = await server.answer();
  if (unavailable) throw new Error(unavailable);
  return { variant, process: server, port, samples: [] };
}

async function measure({ process: server, port }, load, path, requests) {
  const before = await server.ask('usage');
  const { elapsedMs } = await load.ask({ port, path, requests });
  const after = await server.ask('usage');
  return {
    cpuMicros: (after.cpuMicros - before.cpuMicros) / requests,
    perSecond: (requests / elapsedMs) * 1_000,
    logBytes: after.logBytes - before.logBytes,
  };
}

async function compare(path, { database, share, variants }, load, execPath) {
  const requests = Math.round(Number(values.requests) * share);
  const servers = await Promise.all(variants.map(variant => startServer(variant, database, execPath)));
  let all = 0;
  try {
    // The first three rounds are for the optimising compiler.
    for (let round = -3; round < rounds; round++) {
      all += requests;
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        const sample = await measure(server, load, path, requests);
        server.logBytes = (server.logBytes ?? 0) + sample.logBytes;
        if (round >= 0) server.samples.push(sample);
      }
    }
  } finally {
    await Promise.all(servers.map(server => server.process.end()));
  }
  const off = servers[0].samples;
  return servers.map(({ variant, samples, logBytes }) => {
    const added = samples.map(({ cpuMicros }, round) => 100 * (cpuMicros / off[round].cpuMicros - 1));
    return [
      REPORT_VARIANTS[variant].label,
      figure(median(samples.map(({ perSecond }) => perSecond)), 0),
      figure(median(samples.map(({ cpuMicros }) => cpuMicros)), 1),
      samples === off ? '' : signed(median(added), 1),
      samples === off ? '' : figure(spread(added), 1),
      `${figure(logBytes / 1_000, 1)} of ${all}`,
    ];
  });
}

const load = new Child('./load.mjs');
try {
  for (const execPath of values.node.split(',')) {
    for (const [path, handler] of Object.entries(HANDLERS)) {
      console.log(`\n### ${handler.label}, ${execPath}, ${rounds} rounds\n`);
      const header = ['reports', 'requests/s', 'CPU µs/request', 'added %', '±', 'kB logged of requests'];
      console.log(table(header, await compare(path, handler, load, execPath)));
    }
  }
} finally {
  await load.end();
}
