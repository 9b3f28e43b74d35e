/**
 * What a request costs that is shed, beside a 503 of bare `node:http`, in processor time of the server.
 *
 *   npm run --silent build && node bench/shed.mjs [--rounds 5] [--requests 5000]
 */
import { Agent, get } from 'node:http';
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';

const CONNECTIONS = 16;
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, requests: { type: 'string', default: '5000' } },
});
const SUBJECTS = [
  ['bare', ''],
  ...['express', 'fastify'].flatMap(platform =>
    ['none', 'overload', 'breaker'].map(mode => [mode, platform]),
  ),
];

function ask({ port, agent, statuses }) {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, agent, path: '/' }, response => {
      statuses[response.statusCode] = (statuses[response.statusCode] ?? 0) + 1;
      response.resume().on('end', resolve);
    }).on('error', reject);
  });
}

async function drive(subject, requests) {
  let left = requests;
  const connection = async () => {
    while (left-- > 0) await ask(subject);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
}

const subjects = [];
for (const [mode, platform] of SUBJECTS) {
  const child = new Child('./shed-subject.mjs', { args: [mode, platform], execArgv: ['--no-warnings'] });
  const { port } = await child.answer();
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  subjects.push({
    name: `${mode} ${platform}`.trim(),
    child,
    port,
    agent,
    micros: [],
    statuses: {},
  });
}
const requests = Number(values.requests);
for (const subject of subjects) await drive(subject, requests);
for (let round = 0; round < Number(values.rounds); round++) {
  for (const subject of subjects) {
    subject.statuses = {};
    const before = await subject.child.ask('usage');
    await drive(subject, requests);
    const after = await subject.child.ask('usage');
    subject.micros.push((after.cpuMicros - before.cpuMicros) / requests);
  }
}

const median = list => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const of = name => median(subjects.find(subject => subject.name === name).micros);
const bare = of('bare');
for (const { name, statuses, child, agent } of subjects) {
  const micros = of(name);
  console.log(
    `${name.padEnd(18)} ${micros.toFixed(1).padStart(6)} µs  ${(micros / bare).toFixed(2)} of bare  ${JSON.stringify(statuses)}`,
  );
  agent.destroy();
  await child.end();
}
