/**
 * The yardstick: what real handlers on real servers pay, as paired ratios to bare Nest. See README.md.
 *
 *   npm run bench:real -- [--handlers a,b] [--variants a,b] [--platforms a,b] [--node /path/a,/path/b] [--rounds 12]
 *     [--requests 6000] [--warmUp 15000] [--restarts 2] [--repeat 1] [--allocation] [--save]
 */
import { execFileSync } from 'node:child_process';
import { openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { startCollector } from './collector.mjs';
import { count, list } from './options.mjs';
import { save } from './save.mjs';
import { median, medianInterval } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';
import { REAL_VARIANTS as VARIANTS } from './variants.mjs';

process.env.BENCH_TABLE = `bench_real_${process.pid}`;
const { HANDLERS } = await import('./real-handlers.mjs');

const CONNECTIONS = 16;
/** Off by more, two bare processes differ as much as what is looked for. */
const CONTROL = 0.02;
/** Nothing is collected within so many requests: what the heap grows by is what was allocated. */
const FEW = 500;
const BYTES_FLAGS = ['--expose-gc', '--min-semi-space-size=256', '--max-semi-space-size=256'];

const LISTS = { handlers: HANDLERS, variants: VARIANTS, platforms: { fastify: 1, express: 1 } };
const COUNTS = { rounds: 12, requests: 6_000, warmUp: 15_000, restarts: 2, repeat: 1 };
const options = { allocation: { type: 'boolean' }, save: { type: 'boolean' }, node: { type: 'string' } };
for (const name of Object.keys({ ...LISTS, ...COUNTS })) options[name] = { type: 'string' };
const { values } = parseArgs({ options });
const [handlers, names, platforms] = Object.entries(LISTS).map(([name, known]) =>
  list(name, values[name] ?? Object.keys(known).join(), Object.keys(known)),
);
const [rounds, requests, warmUp, restarts, repeat] = Object.entries(COUNTS).map(([name, usual]) =>
  count(name, values[name] ?? usual),
);
if (!names.includes('bare')) throw new Error('--variants: each ratio is to "bare"');

const logFile = join(tmpdir(), `${process.env.BENCH_TABLE}.log`);
const log = openSync(logFile, 'w');
const collector = await startCollector();

/** A server that has shown from inside the handler that it does what the label of its variant says. */
async function startServer(variant, { name, platform, execPath }, mode) {
  const { counts, openTelemetry = '' } = HANDLERS[name];
  const child = new Child('./real-subject.mjs', {
    args: [variant, platform, name, mode, openTelemetry],
    execPath,
    execArgv: ['--no-warnings', ...(mode === 'bytes' ? BYTES_FLAGS : [])],
    env: { BENCH_COLLECTOR: `http://127.0.0.1:${collector.address().port}` },
    output: log,
  });
  const { port } = await child.answer();
  const evidence = await (await fetch(`http://127.0.0.1:${port}/evidence`)).json();
  const expected = { ...VARIANTS[variant].expects, ...(VARIANTS[variant].counts && counts) };
  for (const [fact, value] of Object.entries(expected)) {
    if (evidence[fact] !== value) throw new Error(`${variant}: ${fact} is ${evidence[fact]}, not ${value}`);
  }
  return { variant, child, port };
}

const drive = ({ port }, load, times) =>
  load.ask({ port, path: '/given', requests: times, connections: CONNECTIONS }, 600_000);

/** What a server uses for one request. */
async function measure(server, load, times) {
  // Its connections are open again, and its caches warm.
  await drive(server, load, 10 * CONNECTIONS);
  const before = await server.child.ask('usage');
  const { elapsedMs } = await drive(server, load, times);
  const after = await server.child.ask('usage');
  const each = Object.entries(after).map(([key, total]) => [key, (total - (before[key] ?? 0)) / times]);
  return { ...Object.fromEntries(each), requestsPerSecond: (1_000 * times) / elapsedMs };
}

/** All variants, warmed up and then measured in turn, round by round: samples by variant. */
async function takeTurns(variants, target, load) {
  const samples = Object.fromEntries(variants.map(variant => [variant, []]));
  const { queries } = HANDLERS[target.name].counts;
  let round = 0;
  for (let start = 1; start <= restarts; start++) {
    const servers = [];
    for (const variant of variants) servers.push(await startServer(variant, target, 'time'));
    for (const server of servers) await drive(server, load, warmUp);
    for (; round < (rounds * start) / restarts; round++) {
      // There and back: no variant always runs after the same neighbour.
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        const sample = await measure(server, load, requests);
        if ((sample.counted ?? queries) !== queries) throw new Error(`the floor counts ${sample.counted}`);
        samples[server.variant].push(sample);
      }
    }
    await Promise.all(servers.map(({ child }) => child.end()));
  }
  return samples;
}

/** Each ratio is to bare Nest in the same round. */
function compare(samples) {
  return Object.entries(samples).map(([variant, own]) => {
    const paired = (key, of) => own.map((sample, round) => of(sample[key], samples.bare[round][key]));
    return {
      variant,
      cpuMicros: median(own.map(sample => sample.cpuMicros)),
      addedMicros: median(paired('cpuMicros', (micros, bare) => micros - bare)),
      cpu: medianInterval(paired('cpuMicros', (micros, bare) => micros / bare)),
      throughput: medianInterval(paired('requestsPerSecond', (rate, bare) => rate / bare)),
    };
  });
}

function timeTable(rows) {
  const ratio = ({ median, low, high }) => [figure(median, 3), `${figure(low, 3)} to ${figure(high, 3)}`];
  return table(
    ['variant', 'CPU µs/request', 'added µs', 'CPU ratio', '95 %', 'throughput ratio', '95 %'],
    rows.map(({ variant, cpuMicros, addedMicros, cpu, throughput }) => {
      const micros = [figure(cpuMicros, 1), signed(addedMicros, 1)];
      return [VARIANTS[variant].label, ...micros, ...ratio(cpu), ...ratio(throughput)];
    }),
  );
}

/** Until the control is fine, or as often as may be. */
async function time(variants, target, load, title) {
  for (let left = repeat; ; left--) {
    const rows = compare(await takeTurns(variants, target, load));
    console.log(`\n### ${title} (${rounds} x ${requests}, ${restarts} starts)\n\n${timeTable(rows)}`);
    const control = rows.find(({ variant }) => variant === 'bare2')?.cpu.median;
    const proves = Math.abs(control - 1) <= CONTROL;
    const found = control?.toFixed(3) ?? 'missing';
    if (!proves) console.log(`\nThis table proves nothing: the control (bare2) is ${found}.`);
    if (proves || control === undefined || left === 1) return { control, rows };
  }
}

/** A row of what servers show that are looked at in ways that cost: nothing of it is timed. */
async function allocationOf(variant, target, load) {
  const look = async (mode, before, times) => {
    const server = await startServer(variant, target, mode);
    await drive(server, load, before);
    const used = await measure(server, load, times);
    await server.child.end();
    return used;
  };
  const { heapBytes } = await look('bytes', warmUp, FEW);
  const { gcMs = 0, scavenges = 0 } = await look('gc', warmUp, requests);
  const { 'made PROMISE': promises, ...others } = await look('resources', FEW, FEW);
  // The sockets of the client are few, and the same for all.
  const types = Object.entries(others).filter(([key, each]) => key.startsWith('made ') && each >= 0.05);
  const resources = types.map(([key, each]) => `${key.slice('made '.length)} ${figure(each, 1)}`).join(', ');
  return { variant, heapBytes, gcMs, scavenges, promises, resources };
}

function allocationTable(rows) {
  const header = ['variant', 'kB', 'GC µs', 'scavenges/1,000', 'promises', 'other async resources'];
  const cells = rows.map(({ variant, heapBytes, gcMs, scavenges, promises, resources }) => {
    const figures = [heapBytes / 1_000, 1_000 * gcMs, 1_000 * scavenges, promises].map(value =>
      figure(value, 1),
    );
    return [VARIANTS[variant].label, ...figures, resources];
  });
  return table(header, cells);
}

/** One handler on one Node and on all platforms: its tables, and what is to be saved. */
async function runHandler(name, node) {
  const results = [];
  const load = new Child('./load.mjs');
  const variants = names.filter(variant => VARIANTS[variant].handlers?.includes(name) ?? true);
  for (const platform of platforms) {
    const target = { name, platform, ...node };
    const title = `${name}, ${platform}, Node ${node.version}`;
    const timing = await time(variants, target, load, title);
    const allocation = [];
    if (values.allocation) {
      for (const variant of variants) allocation.push(await allocationOf(variant, target, load));
      console.log(`\n### ${title}: of one request\n\n${allocationTable(allocation)}`);
    }
    results.push({ handler: name, platform, ...timing, allocation });
  }
  await load.end();
  return results;
}

/** Ctrl-C as well has the tables dropped, now or when they have been made. */
const signalled = new Promise((_resolve, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => reject(new Error(signal)));
});
signalled.catch(() => {});

async function runAll() {
  for (const execPath of values.node?.split(',') ?? [process.execPath]) {
    const version = execFileSync(execPath, ['-p', 'process.versions.node']).toString().trim();
    const results = [];
    for (const name of handlers) {
      const skip = error => console.log(`skipped: ${name}: ${error.message || error.code}`);
      const drop = await HANDLERS[name].prepare().catch(skip);
      if (drop === undefined) continue;
      const running = runHandler(name, { execPath, version });
      results.push(...(await Promise.race([running, signalled]).finally(drop)));
    }
    if (values.save) save(`real-v${version}`, version, { rounds, requests, warmUp, restarts, results });
  }
}

const failed = await runAll().catch(error => error);
if (failed) console.error(`${failed.stack}\nWhat the servers have said: ${logFile}`);
else rmSync(logFile);
// All children end with this process, those of a run that has failed too.
process.exit(failed ? 1 : 0);
