import { parseArgs } from 'node:util';
import { VARIANTS } from './variants.mjs';

/** The routes under load. `share` of the requests of a round, so that each takes about as long as hello. */
export const HANDLERS = {
  hello: { path: '/hello', label: 'hello', database: 'none', share: 1 },
  services: { path: '/services', label: 'ten async service calls', database: 'none', share: 0.7 },
  servicesSync: { path: '/services-sync', label: 'ten sync service calls', database: 'none', share: 0.7 },
  queries10: { path: '/queries10', label: 'ten queries, stubbed pg', database: 'stub', share: 0.3 },
  queries100: { path: '/queries100', label: 'a hundred queries, stubbed pg', database: 'stub', share: 0.05 },
  postgres10: { path: '/queries10', label: 'ten queries, PostgreSQL', database: 'server', share: 0.08 },
};

/** Express takes several times the CPU of Fastify on Node 20: half the requests give the same certainty. */
export const PLATFORM_SHARES = { fastify: 1, express: 0.5 };
const PLATFORMS = Object.keys(PLATFORM_SHARES);

function fail(text) {
  console.error(text);
  process.exit(2);
}

export function list(option, value, known) {
  const chosen = value.split(',');
  const unknown = chosen.find(item => !known.includes(item));
  if (unknown !== undefined) fail(`--${option}: "${unknown}" is not one of ${known.join(', ')}`);
  return chosen;
}

export function count(option, value) {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) fail(`--${option}: "${value}" is not a whole number above 0`);
  return number;
}

export function readOptions() {
  const quick = process.argv.includes('--quick');
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string', default: quick ? '5' : '6' },
      requests: { type: 'string', default: quick ? '5000' : '12000' },
      handlers: {
        type: 'string',
        default: (quick ? ['hello', 'queries10'] : Object.keys(HANDLERS)).join(','),
      },
      variants: { type: 'string', default: Object.keys(VARIANTS).join(',') },
      platforms: { type: 'string', default: PLATFORMS.join(',') },
      node: { type: 'string', default: process.execPath },
      'no-micro': { type: 'boolean', default: false },
      save: { type: 'boolean', default: false },
    },
  });
  return {
    quick,
    rounds: count('rounds', values.rounds),
    requests: count('requests', values.requests),
    handlers: list('handlers', values.handlers, Object.keys(HANDLERS)),
    variants: list('variants', values.variants, Object.keys(VARIANTS)),
    platforms: list('platforms', values.platforms, PLATFORMS),
    nodes: values.node.split(','),
    warmUpMs: quick ? 700 : 1_200,
    micro: !values['no-micro'],
    save: values.save,
  };
}
