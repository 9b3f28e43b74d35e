/**
 * What counting adds to one query of each driver: the real client on a stub, or on an engine, within
 * the process, so that nothing but the driver and this package is measured.
 *
 *   npm run build && node bench/drivers.mjs [name …]
 */
import { readdirSync } from 'node:fs';
import { Child } from './child.mjs';
import { median } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';

/** Two processes of one variant differ: so several of each. */
const PAIRS = 7;
const WARM_UP = 40_000;
const BLOCKS = 60;
const BLOCK = 1_000;
const VARIANTS = ['bare', 'counted'];

/** The tenth percentile: on a shared machine a block is disturbed as often as not. */
function undisturbed(samples) {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 10)];
}

/** Nanoseconds of a query, bare and counted: processes that run side by side and take turns. */
async function measurePair(name) {
  const children = Object.fromEntries(
    VARIANTS.map(variant => [variant, new Child('drivers-subject.mjs', { args: [name, variant] })]),
  );
  const samples = { bare: [], counted: [] };
  const ask = async (variant, times) => {
    const { nanos, error } = await children[variant].ask({ times });
    if (error !== undefined) throw new Error(error);
    return nanos;
  };
  try {
    for (const variant of VARIANTS) await children[variant].answer();
    for (const variant of VARIANTS) await ask(variant, WARM_UP);
    for (let block = 0; block < BLOCKS; block++) {
      for (const variant of block % 2 === 0 ? VARIANTS : VARIANTS.toReversed()) {
        samples[variant].push(await ask(variant, BLOCK));
      }
    }
  } finally {
    for (const child of Object.values(children)) await child.end();
  }
  return { bare: undisturbed(samples.bare), counted: undisturbed(samples.counted) };
}

async function rowOf(name) {
  try {
    const pairs = [];
    for (let i = 0; i < PAIRS; i++) pairs.push(await measurePair(name));
    const added = pairs.map(({ bare, counted }) => (counted - bare) / 1_000).sort((a, b) => a - b);
    const bare = median(pairs.map(pair => pair.bare / 1_000));
    return [
      name,
      figure(bare, 2),
      signed(median(added), 2),
      `${signed(added[0], 2)} to ${signed(added.at(-1), 2)}`,
    ];
  } catch (error) {
    return [name, `not measured: ${error.message}`, '', ''];
  }
}

const wanted = process.argv.slice(2);
const known = readdirSync(new URL('drivers/', import.meta.url)).map(file => file.replace('.mjs', ''));
const rows = [];
for (const name of known.filter(one => wanted.length === 0 || wanted.includes(one)))
  rows.push(await rowOf(name));
console.log(`Node ${process.version}, µs a query\n`);
console.log(table(['driver', 'bare', 'added', `${PAIRS} pairs`], rows));
