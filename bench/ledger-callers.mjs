import { Agent, get } from 'node:http';
import { setTimeout } from 'node:timers/promises';

const between = (least, most) => least + Math.floor(Math.random() * (most - least + 1));

/** Of ten requests five cost a point, four up to 50 and one up to 500. */
function pathOf(isGreedy) {
  const dice = isGreedy ? 9 : between(0, 9);
  if (dice < 5) return '/one';
  return dice < 9 ? `/some?count=${between(5, 50)}` : `/many?count=${between(1, 500)}`;
}

/**
 * Callers that send up to four requests at once, each to another process, until their time is over. Every tenth is
 * greedy: always four of the dearest, and hardly a break.
 *
 * @returns what each request was answered: `{ user, atMs, status, reason, retryAfter }`
 */
export async function drive(ports, callers, seconds) {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 2_000 });
  const endMs = performance.now() + seconds * 1_000;
  const answers = [];

  const ask = (user, port, path) =>
    new Promise(resolve => {
      const done = answer => resolve(answers.push({ user, atMs: Date.now(), ...answer }));
      get({ host: '127.0.0.1', port, path, agent, headers: { 'x-user': user } }, response => {
        let body = '';
        response.setEncoding('utf8').on('data', text => (body += text));
        response.on('end', () => {
          const { statusCode: status, headers } = response;
          done({ status, reason: JSON.parse(body).reason, retryAfter: headers['retry-after'] });
        });
      }).on('error', error => done({ status: 0, reason: error.code ?? error.message }));
    });

  const call = async (user, isGreedy) => {
    await setTimeout(between(0, 500));
    while (performance.now() < endMs) {
      const first = between(0, ports.length - 1);
      const some = ports.slice(0, isGreedy ? ports.length : between(1, ports.length));
      await Promise.all(some.map((_, i) => ask(user, ports[(first + i) % ports.length], pathOf(isGreedy))));
      await setTimeout(isGreedy ? between(40, 80) : between(100, 700));
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, i) => call(`user-${i}`, i % 10 === 0)));
  agent.destroy();
  return answers;
}
