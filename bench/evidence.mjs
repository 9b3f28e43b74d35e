/**
 * What it costs to prove N+1 by their values: `findings: { compareValues: true }` compared with `false`, for `pg` on
 * a stub within the process.
 *
 *   npm run build && node bench/evidence.mjs [--pairs 9] [--node <paths of binaries, separated by commas>]
 */
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { median } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '9' },
    node: { type: 'string', default: process.execPath },
  },
});
const VARIANTS = ['off', 'on'];
const BATCHES = 100;
/**
 * What is measured, one after the other in one process: after how many requests, in how many units of work a batch,
 * and of how many queries a figure is. The N+1 comes twice: alone, and after code that has seen other results, too.
 */
const CASES = [
  {
    label: 'a request with an N+1 of 60, µs',
    unit: 'nPlusOne',
    size: 61,
    warmUp: 4_000,
    times: 8,
    share: 1_000,
  },
  { label: 'a query of 1 row, ns', unit: 'shapes', size: 1, warmUp: 8_000, times: 40, share: 8 },
  { label: 'a query of 5 rows, ns', unit: 'shapes', size: 5, warmUp: 4_000, times: 40, share: 8 },
  { label: 'a query of 20 rows, ns', unit: 'shapes', size: 20, warmUp: 4_000, times: 40, share: 8 },
  { label: 'the N+1 after them, µs', unit: 'nPlusOne', size: 61, warmUp: 1_000, times: 8, share: 1_000 },
];
const SIZES = [1_000, 10_000, 100_000];

/** The tenth percentile: on a shared machine a batch is disturbed as often as not. */
const undisturbed = samples => samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 10)];

/** Asks two processes side by side, which take turns; ends them. */
async function withPair(execPath, ask) {
  const start = variant =>
    new Child('evidence-subject.mjs', { args: [variant], execPath, execArgv: ['--expose-gc'] });
  const children = Object.fromEntries(VARIANTS.map(variant => [variant, start(variant)]));
  try {
    for (const variant of VARIANTS) await children[variant].answer(120_000);
    return await ask(children);
  } finally {
    for (const child of Object.values(children)) await child.end();
  }
}

/** The figure of one case, without and with the comparison: the processes take turns. */
async function measure(children, { unit, size, warmUp, times, share }) {
  const samples = { off: [], on: [] };
  await Promise.all(VARIANTS.map(variant => children[variant].ask({ unit, size, times: warmUp })));
  for (let batch = 0; batch < BATCHES; batch++) {
    for (const variant of batch % 2 === 0 ? VARIANTS : VARIANTS.toReversed()) {
      const { nanos, finding } = await children[variant].ask({ unit, size, times });
      if (unit === 'nPlusOne' && (finding === 'proven') !== (variant === 'on'))
        throw new Error(`The N+1 is ${finding} with the comparison ${variant}`);
      samples[variant].push(nanos / share);
    }
  }
  return { off: undisturbed(samples.off), on: undisturbed(samples.on) };
}

function measurePair(execPath) {
  return withPair(execPath, async children => {
    const figures = [];
    for (const one of CASES) figures.push(await measure(children, one));
    return figures;
  });
}

/** A row of each case. */
async function caseRows(execPath) {
  const pairs = [];
  for (let i = 0; i < Number(values.pairs); i++) pairs.push(await measurePair(execPath));
  return CASES.map(({ label }, at) => {
    const off = median(pairs.map(pair => pair[at].off));
    const added = pairs.map(pair => pair[at].on - pair[at].off).sort((a, b) => a - b);
    const quartiles = [0.25, 0.75].map(share => signed(added[Math.round(share * (added.length - 1))], 0));
    const range = [added[0], added.at(-1)].map(value => signed(value, 0));
    return [label, figure(off, 0), signed(median(added), 0), quartiles.join(' to '), range.join(' to ')];
  });
}

/** Nanoseconds of a query, and the heap held at the end, of ever longer units of work. */
function longRows(execPath, unit) {
  return withPair(execPath, async children => {
    const rows = SIZES.map(size => [`${unit}, ${size}`]);
    for (const [at, size] of SIZES.entries()) {
      for (const variant of VARIANTS) {
        const samples = [];
        // As many queries of each size; the first round warms up.
        const question = { unit, size, times: SIZES.at(-1) / size };
        for (let i = 0; i < 3; i++) samples.push((await children[variant].ask(question)).nanos / size);
        const { held } = await children[variant].ask({ unit, size, times: 1, heap: true });
        rows[at].push(figure(Math.min(...samples.slice(1)), 0), figure(held / 1_024, 0));
      }
    }
    return rows;
  });
}

for (const execPath of values.node.split(',')) {
  console.log(`\n${execPath}\n`);
  const header = ['', 'without', 'added', 'quartiles', `${values.pairs} pairs`];
  console.log(table(header, await caseRows(execPath)));
  const long = [...(await longRows(execPath, 'found')), ...(await longRows(execPath, 'notFound'))];
  console.log(`\n${table(['queries of a unit of work', 'ns, off', 'KB, off', 'ns, on', 'KB, on'], long)}`);
}
