/**
 * What a handler that blocks the event loop, holds the pool or makes 30,000 queries leaves of the others: with nothing, with `@fastify/under-pressure`, with
 * our breaker, with our overload control. Each in a process of its own; medians over the rounds, which take turns.
 *
 *   npm run --silent build && node bench/rogue.mjs [--seconds 20] [--rounds 3] [--platform fastify] [--rogue block|pool|queries]
 *
 * Requests are sent at a fixed rate, whatever becomes of them, each on a connection of its own pool. A good answer
 * is 200 within `--goodMs`.
 */
import { Agent, get } from 'node:http';
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' },
    rounds: { type: 'string', default: '3' },
    platform: { type: 'string', default: 'fastify' },
    modes: { type: 'string', default: 'alone,nothing,under-pressure,breaker,overload,both' },
    rogue: { type: 'string', default: 'block' },
    lightPerSecond: { type: 'string', default: '40' },
    workMs: { type: 'string', default: '3' },
    roguePerSecond: { type: 'string', default: '3' },
    blockMs: { type: 'string', default: '250' },
    goodMs: { type: 'string', default: '100' },
  },
});
const numbers = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]));

function ask(port, path, agent) {
  return new Promise(resolve => {
    const begin = performance.now();
    const done = status => resolve({ status, ms: performance.now() - begin });
    get({ host: '127.0.0.1', port, path: `/${path}`, agent, timeout: 10_000 }, response => {
      response.resume().on('end', () => done(response.statusCode));
    })
      .on('timeout', function () {
        this.destroy();
      })
      .on('error', error => done(error.code ?? 'error'));
  });
}

/** Sends one each `1 / perSecond`, and catches up with what a busy machine has held up. */
async function pace(perSecond, untilMs, send) {
  const sent = [];
  const beginMs = performance.now();
  while (performance.now() < untilMs) {
    const due = Math.floor(((performance.now() - beginMs) * perSecond) / 1_000);
    while (sent.length < due) sent.push(send());
    await new Promise(resolve => setTimeout(resolve, 2));
  }
  return Promise.all(sent);
}

async function round(mode) {
  const child = new Child('./rogue-subject.mjs', {
    args: [mode === 'alone' ? 'nothing' : mode, values.platform, values.blockMs, values.workMs, values.rogue],
    execArgv: ['--no-warnings'],
  });
  const { port } = await child.answer();
  const agent = new Agent({ keepAlive: true });
  await pace(numbers.lightPerSecond, performance.now() + 2_000, () => ask(port, 'light', agent));
  const untilMs = performance.now() + numbers.seconds * 1_000;
  const [light, rogue] = await Promise.all([
    pace(numbers.lightPerSecond, untilMs, () => ask(port, 'light', agent)),
    mode === 'alone' ? [] : pace(numbers.roguePerSecond, untilMs, () => ask(port, 'rogue', agent)),
  ]);
  const usage = await child.ask('usage');
  agent.destroy();
  await child.end();
  const good = light.filter(({ status, ms }) => status === 200 && ms <= numbers.goodMs).length;
  return {
    good: good / light.length,
    refused: light.filter(({ status }) => status === 503).length / light.length,
    rogues: rogue.filter(({ status }) => status === 200).length,
    usage,
  };
}

const median = list => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const percent = share => `${(100 * share).toFixed(1)} %`;

const results = new Map();
for (let turn = 0; turn < numbers.rounds; turn++) {
  for (const mode of values.modes.split(',')) {
    const result = await round(mode);
    results.set(mode, [...(results.get(mode) ?? []), result]);
    if (process.env.LOUD) console.log(mode, JSON.stringify(result));
  }
}
console.log(
  `${values.platform}: ${values.lightPerSecond} light requests of ${values.workMs} ms a second, ${values.roguePerSecond} rogues (${values.rogue}, ${values.blockMs} ms); good within ${values.goodMs} ms`,
);
for (const [mode, list] of results) {
  const good = median(list.map(result => result.good));
  const refused = median(list.map(result => result.refused));
  const rogues = median(list.map(result => result.rogues));
  console.log(
    `  ${mode.padEnd(15)} good ${percent(good).padStart(7)}  refused ${percent(refused).padStart(7)}  rogue answers ${rogues}`,
  );
}
