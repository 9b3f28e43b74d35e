/**
 * What `process.nextTick()` takes before and after garbage collections that find no callback in the queue, in plain
 * Node and with one of its objects kept, as this package does: see `lib/kernel/tick-shape.ts`.
 *
 *   node bench/tick.mjs [/path/to/node …]
 */
import { execFileSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { median } from './statistics.mjs';
import { keepTickShape } from './tick-shape.mjs';

const TICKS = 400_000;
const ROUNDS = 4;
const TICKS_OF_A_TURN = 10;
const COLLECTIONS = 6;
const PROBE = '--probe';

function ignore() {}

function nanosOfTicks() {
  return new Promise(resolve => {
    const before = process.cpuUsage();
    let left = TICKS;
    const turn = () => {
      if (left <= 0) {
        const { user, system } = process.cpuUsage(before);
        resolve(((user + system) * 1_000) / TICKS);
        return;
      }
      for (let i = 0; i < TICKS_OF_A_TURN; i++) process.nextTick(ignore, i);
      left -= TICKS_OF_A_TURN;
      setImmediate(turn);
    };
    turn();
  });
}

async function rounds() {
  const nanos = [];
  for (let i = 0; i < ROUNDS; i++) nanos.push(await nanosOfTicks());
  return median(nanos);
}

async function probe(keeps) {
  if (keeps) await keepTickShape();
  const before = await rounds();
  for (let i = 0; i < COLLECTIONS; i++) {
    await setTimeout(50);
    globalThis.gc();
  }
  const after = await rounds();
  console.log(JSON.stringify({ before, after }));
}

if (process.argv[2] === PROBE) {
  await probe(process.argv[3] === 'keep');
} else {
  const given = process.argv.slice(2);
  for (const execPath of given.length > 0 ? given : [process.execPath]) {
    const version = execFileSync(execPath, ['-p', 'process.version']).toString().trim();
    for (const way of ['plain', 'keep']) {
      const args = ['--expose-gc', fileURLToPath(import.meta.url), PROBE, way];
      const { before, after } = JSON.parse(execFileSync(execPath, args).toString());
      console.log(
        `${version} ${way}: ${before.toFixed(0)} ns a tick, ${after.toFixed(0)} after collections at rest`,
      );
    }
  }
}
