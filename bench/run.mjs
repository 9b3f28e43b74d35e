/**
 * What a request context costs, for this package and for its peers, in one run. See README.md.
 *
 *   npm run bench -- [--quick] [--rounds 6] [--requests 12000] [--handlers a,b] [--variants a,b]
 *                    [--platforms fastify,express] [--node /path/a,/path/b] [--no-micro] [--save]
 */
import { execFileSync } from 'node:child_process';
import { isDeepStrictEqual } from 'node:util';
import { Child } from './child.mjs';
import { startCollector } from './collector.mjs';
import { runMicro } from './micro.mjs';
import { HANDLERS, PLATFORM_SHARES, readOptions } from './options.mjs';
import { whyNoServer } from './postgres.mjs';
import { save } from './save.mjs';
import { summarise } from './statistics.mjs';
import { requestTable } from './table.mjs';
import { VARIANTS } from './variants.mjs';

const options = readOptions();
const labels = Object.fromEntries(Object.entries(VARIANTS).map(([name, { label }]) => [name, label]));
const skipped = new Set();

/** Servers are started anew once: two processes of one variant differ by up to 6 µs in ten queries. */
const GENERATIONS = 2;

function skip(line) {
  if (!skipped.has(line)) console.log(`skipped: ${line}`);
  skipped.add(line);
}

/** The variant shows from inside a handler that it does what its label says. */
async function checkEvidence(variant, handler, port) {
  const response = await fetch(`http://127.0.0.1:${port}/evidence`);
  const evidence = await response.json();
  for (const [fact, expected] of Object.entries(VARIANTS[variant].expects ?? {})) {
    if (fact === 'queries' && handler.database === 'none') continue;
    if (!isDeepStrictEqual(evidence[fact], expected)) {
      throw new Error(`${labels[variant]}: ${fact} is ${evidence[fact]} in the handler, not ${expected}`);
    }
  }
}

async function startServer(variant, { platform, handler, execPath, collector }) {
  const process = new Child('./server.mjs', {
    args: [variant, platform, handler.database],
    execPath,
    execArgv: ['--no-warnings'],
    env: { BENCH_COLLECTOR: `http://127.0.0.1:${collector.address().port}` },
  });
  try {
    const { port, unavailable } = await process.answer();
    if (!unavailable) {
      await checkEvidence(variant, handler, port);
      return { variant, process, port };
    }
    skip(`${labels[variant]}: ${unavailable}`);
  } catch (error) {
    await process.end();
    throw error;
  }
  await process.end();
  return undefined;
}

/** One server per variant, all at once: nothing is measured yet. */
async function startServers(target) {
  const started = await Promise.allSettled(options.variants.map(variant => startServer(variant, target)));
  const servers = started.map(({ value }) => value).filter(server => server !== undefined);
  const failure = started.find(({ status }) => status === 'rejected');
  if (!failure) return servers;
  await endServers(servers);
  throw failure.reason;
}

function endServers(servers) {
  return Promise.all(servers.map(server => server.process.end()));
}

/** Until the optimising compiler is done: ten queries take 260 µs at first, and 76 from 1.2 s on (Node 20). */
async function warmUp(server, load, path, requests) {
  const startedAt = performance.now();
  while (performance.now() - startedAt < options.warmUpMs) {
    await load.ask({ port: server.port, path, requests: Math.ceil(requests / 4) });
  }
}

async function measure(server, load, path, requests) {
  const before = await server.process.ask('usage');
  const { elapsedMs } = await load.ask({ port: server.port, path, requests });
  const after = await server.process.ask('usage');
  return {
    cpuMicros: (after.cpuMicros - before.cpuMicros) / requests,
    requestsPerSecond: (requests / elapsedMs) * 1000,
    rssMegabytes: after.rssBytes / 1024 / 1024,
  };
}

/** All variants of one platform and handler, warmed up and then measured in turn, round by round. */
async function compare(target, load) {
  const { path, share } = target.handler;
  const requests = Math.max(200, Math.round(options.requests * share * PLATFORM_SHARES[target.platform]));
  const samples = {};
  let round = 0;
  for (let generation = 1; generation <= GENERATIONS; generation++) {
    const servers = await startServers(target);
    try {
      for (const server of servers) await warmUp(server, load, path, requests);
      for (; round < (options.rounds * generation) / GENERATIONS; round++) {
        // There and back: no variant always runs after the same neighbour.
        for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
          (samples[server.variant] ??= []).push(await measure(server, load, path, requests));
        }
      }
    } finally {
      await endServers(servers);
    }
  }
  return { requests, samples };
}

async function compareAll(execPath, version, collector) {
  const results = [];
  const load = new Child('./load.mjs');
  try {
    for (const name of options.handlers) {
      const handler = HANDLERS[name];
      const noServer = handler.database === 'server' ? await whyNoServer() : undefined;
      if (noServer) {
        skip(`${handler.label}: ${noServer}`);
        continue;
      }
      for (const platform of options.platforms) {
        const { requests, samples } = await compare({ platform, handler, execPath, collector }, load);
        const summary = summarise(samples);
        results.push({ platform, handler: name, requests, rounds: options.rounds, summary });
        console.log(
          `\n### ${handler.label}, ${platform}, Node ${version} (${options.rounds} x ${requests})\n`,
        );
        console.log(requestTable(summary, labels));
      }
    }
  } finally {
    await load.end();
  }
  return results;
}

async function main() {
  const startedAt = Date.now();
  const collector = await startCollector();
  try {
    for (const execPath of options.nodes) {
      const version = execFileSync(execPath, ['-p', 'process.versions.node']).toString().trim();
      const requests = await compareAll(execPath, version, collector);
      const micro = options.micro
        ? await runMicro({ execPath, version, quick: options.quick, skip })
        : undefined;
      if (options.save) save(`v${version}`, version, { requests, micro });
    }
  } finally {
    collector.close();
    collector.closeAllConnections();
  }
  console.log(`\n${Math.round((Date.now() - startedAt) / 1000)} s`);
}

await main();
