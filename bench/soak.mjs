/**
 * Serves at full speed with what is on by default (or `all` that can be), beside the same application with all diagnoses off, and says what
 * went wrong, how the heap went and how the slowest requests compare.
 *
 *   npm run --silent build && node bench/soak.mjs [--minutes 5] [--platforms express,fastify] [--mode on|all]
 *
 * The two take turns, ten seconds each, so that a slow minute of the machine counts for both. Log lines go
 * to a file of the system's folder for temporary files, as they would to a collector.
 */
import { openSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { whyNoServer } from './postgres.mjs';

const CONNECTIONS = 16;
const SLICE_MS = 10_000;
const log = openSync(join(tmpdir(), `soak-${process.pid}.log`), 'w');
/** Of each eight requests. */
const PATHS = ['five', 'five', 'repeats', 'five', 'five', 'fails', 'five', 'five'];
const EXPECTED = { five: 200, repeats: 200, fails: 409 };

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    platforms: { type: 'string', default: 'express,fastify' },
    mode: { type: 'string', default: 'on' },
  },
});

/** Asks until `untilMs`; times are in tenths of a millisecond. */
async function drive(server, untilMs) {
  let turn = 0;
  const ask = path =>
    new Promise(resolve => {
      const begin = performance.now();
      const done = wrong => {
        server.times.push(performance.now() - begin);
        if (wrong !== undefined) server.errors.set(wrong, (server.errors.get(wrong) ?? 0) + 1);
        resolve();
      };
      get({ host: '127.0.0.1', port: server.port, path: `/${path}`, agent: server.agent }, response => {
        let body = '';
        response.setEncoding('utf8').on('data', text => (body += text));
        response.on('end', () => {
          if (response.statusCode !== EXPECTED[path]) return done(`${path}: ${response.statusCode}`);
          const { id } = JSON.parse(body);
          const own = response.headers['x-request-id'];
          done(path === 'fails' || id === own ? undefined : `${path}: the id of another request`);
        });
      }).on('error', error => done(error.code ?? error.message));
    });
  const connection = async () => {
    while (performance.now() < untilMs) await ask(PATHS[turn++ % PATHS.length]);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
}

async function start(mode, platform) {
  const child = new Child('./soak-subject.mjs', {
    args: [mode, platform],
    execArgv: ['--no-warnings'],
    output: log,
  });
  const { port } = await child.answer();
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  return { mode, child, port, agent, times: [], errors: new Map(), heaps: [], cpuMicros: [], requests: 0 };
}

const percentile = (times, share) => times.toSorted((a, b) => a - b)[Math.floor(share * (times.length - 1))];
const fixed = (list, digits = 1) => list.map(value => value.toFixed(digits)).join(' ');

async function soak(platform, slices) {
  const servers = [await start(values.mode, platform), await start('off', platform)];
  for (const server of servers) await drive(server, performance.now() + SLICE_MS);
  const ratios = [];
  for (let slice = 0; slice < slices; slice++) {
    for (const server of slice % 2 === 0 ? servers : servers.toReversed()) {
      server.times = [];
      const before = await server.child.ask('usage');
      await drive(server, performance.now() + SLICE_MS);
      const after = await server.child.ask('usage');
      server.p99 = percentile(server.times, 0.99);
      server.requests += server.times.length;
      server.cpuMicros.push((after.cpuMicros - before.cpuMicros) / server.times.length);
      server.heaps.push(after.heapMb);
    }
    ratios.push(servers[0].p99 / servers[1].p99);
  }
  for (const { mode, requests, errors, heaps, cpuMicros } of servers) {
    const wrong = [...errors].map(([what, count]) => `${what} × ${count}`).join(', ') || 'no error';
    console.log(`${platform}, ${mode}: ${requests} requests, ${wrong}`);
    console.log(`  heap MB      ${fixed(heaps)}`);
    console.log(`  CPU µs each  ${fixed([percentile(cpuMicros, 0.5)], 0)}`);
  }
  console.log(
    `${platform}, p99 ${values.mode}/off: median ${percentile(ratios, 0.5).toFixed(3)} of ${fixed(ratios, 2)}`,
  );
  for (const { child, agent } of servers) {
    agent.destroy();
    await child.end();
  }
}

const reason = await whyNoServer();
if (reason !== undefined) {
  console.error(`no PostgreSQL answers: ${reason}`);
  process.exitCode = 1;
} else {
  for (const platform of values.platforms.split(',')) {
    await soak(platform, Math.max(1, Math.round((Number(values.minutes) * 60_000) / SLICE_MS)));
  }
}
