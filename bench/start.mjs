/**
 * What a cold process pays: require(), the start of an empty Nest application, its first 100 requests, its end.
 *
 *   npm run build && node bench/start.mjs [--rounds 21] [--node a,b] [--platforms fastify,express] [--against dist]
 *
 * Each sample is a process of its own, and the variants take turns; the figures are medians of CPU. Nest, its
 * adapter and reflect-metadata are loaded before, for each variant. `--against` names the `index.js` of another
 * build, which runs beside this one.
 */
import { get } from 'node:http';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { median } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '21' },
    node: { type: 'string', default: process.execPath },
    platforms: { type: 'string', default: 'fastify,express' },
    against: { type: 'string' },
  },
});
const REQUESTS = 100;
const STEPS = ['require', 'start', 'requests', 'close'];
const VARIANTS = {
  bare: ['bare'],
  cls: ['cls'],
  ...(values.against && { against: ['ours', resolve(values.against)] }),
  ours: ['ours'],
};
const LABELS = { bare: 'bare', cls: 'nestjs-cls', against: 'the other build', ours: 'nestjs-async-context' };

/** One after the other on one connection, as a function that is woken up has them. */
async function request(port) {
  for (let i = 0; i < REQUESTS; i++) {
    await new Promise((done, fail) => {
      get(
        { host: '127.0.0.1', port, path: '/hello', agent: false, headers: { connection: 'close' } },
        answer => answer.resume().on('end', done),
      ).on('error', fail);
    });
  }
}

async function sample(node, platform, [variant, ...dist]) {
  const options = { args: [variant, platform, ...dist], execPath: node };
  const child = new Child('start-subject.mjs', options);
  try {
    await child.answer();
    const steps = {};
    for (const step of STEPS) {
      if (step === 'requests') await request(steps.start.port);
      steps[step] = await child.ask(step);
    }
    return steps;
  } finally {
    await child.end();
  }
}

const cpu = steps => STEPS.reduce((sum, step) => sum + steps[step].cpuMs, 0);

/** What a variant adds is compared with the bare application of the same round. */
function row(variant, samples) {
  const of = step => median(samples[variant].map(steps => steps[step].cpuMs));
  const added = what => median(samples[variant].map((steps, i) => what(steps) - what(samples.bare[i])));
  const first = samples[variant][0];
  return [
    LABELS[variant],
    figure(of('require'), 1),
    figure(median(samples[variant].map(steps => steps.require.ms)), 1),
    String(first.require.files),
    figure(of('start'), 1),
    figure(of('close'), 1),
    signed(
      added(steps => steps.start.cpuMs + steps.close.cpuMs),
      1,
    ),
    signed(
      added(steps => (steps.requests.cpuMs * 1000) / REQUESTS),
      0,
    ),
    signed(added(cpu), 1),
  ];
}

const HEADER = [
  'variant',
  'require() CPU ms',
  'ms',
  'files',
  'start CPU ms',
  'close CPU ms',
  'start + close added',
  `first ${REQUESTS} added µs each`,
  'all added ms',
];

for (const node of values.node.split(',')) {
  for (const platform of values.platforms.split(',')) {
    const samples = Object.fromEntries(Object.keys(VARIANTS).map(variant => [variant, []]));
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [variant, args] of Object.entries(VARIANTS)) {
        samples[variant].push(await sample(node, platform, args));
      }
    }
    console.log(`\n${platform}, ${node === process.execPath ? process.version : node}\n`);
    console.log(
      table(
        HEADER,
        Object.keys(VARIANTS).map(variant => row(variant, samples)),
      ),
    );
  }
}
