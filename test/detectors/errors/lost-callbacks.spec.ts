import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { Agent, get } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Child, Programs } from '../../support/child';
import { databaseUrl, isEmbedded } from '../../support/database';
import { type HeaderServer, startHeaderServer } from '../../support/header-server';
import { type MongoServer, startMongoServer } from '../../support/mongo-server';
import { platforms } from '../../support/platforms';
import { hasRedis, redisUrl } from '../../support/redis-server';
import { startTdsServer, type TdsServer } from '../../support/tds-server';
import type { CallbacksApp, Said } from './lost-callbacks/app';
import type { Servers } from './lost-callbacks/calls';

const FOLDER = 'test/detectors/errors/lost-callbacks';
/** For a machine on which all takes long. */
const PATIENCE = 900_000;

const LATER = ['in a timer', 'in setImmediate', 'in nextTick', 'as an async function'];
const AT_ONCE = ['as a string', 'itself'];
const LOSSES = [...LATER, ...AT_ONCE];

/** Callbacks that run in the context of who called, however they fail. */
const BROUGHT_BACK = [
  'pg pool.query()',
  'pg pool.query() that waits for its turn',
  'pg client.query()',
  'pg client.query() with a query object',
  'pg pool.connect()',
  'pg pool.connect(), client.query()',
  'pg-cursor read()',
  'mysql2 pool.query()',
  'mysql2 pool.execute()',
  'mysql2 pool.getConnection()',
  'mysql2 connection.query()',
  'mysql2 connection.execute()',
  'mysql2 connection.ping()',
  'mariadb pool.query()',
  'mariadb connection.query()',
  'mssql request.query()',
  'tedious request',
  'ioredis get()',
  'ioredis pipeline().exec()',
  'fetch().then()',
  'a client of one’s own, as a promise',
  'no connection at all',
];
/** Callbacks that Node runs in the context of who called, while what they throw comes out of a connection or a stream. */
const KNOWN_LATER = [
  'mariadb pool.getConnection()',
  'mongodb stream of find()',
  'amqplib confirm',
  'amqplib confirm, with callbacks',
  'http response',
  'http data',
  'undici request()',
  'grpc unary call',
  'dns lookup()',
  'fs readFile()',
  'fs stat()',
  'crypto randomBytes()',
  'zlib gzip()',
];
/** What throws in these is caught by the client itself. */
const CAUGHT = ['mariadb pool.getConnection()', 'nats subscription'];

/** What a mixed lot is made of; what throws itself may leave the connections of the others broken. */
const MIXED = [
  'pg pool.query()',
  'pg client.query()',
  'mysql2 pool.query()',
  'mysql2 connection.execute()',
  'mariadb pool.query()',
  'mssql request.query()',
  'ioredis get()',
  'ioredis pipeline().exec()',
  'amqplib confirm',
  'nats subscription',
  'mqtt publish()',
  'a client of one’s own',
  'a client of one’s own, on the next tick',
  'a client of one’s own, as a promise',
  'http data',
  'fetch().then()',
  'grpc unary call',
  'dns lookup()',
  'fs readFile()',
  'no connection at all',
];
const SURVIVE = [
  'pg pool.query()',
  'pg client.query()',
  'ioredis get()',
  'fetch().then()',
  'no connection at all',
];

let programs: Programs;
let closings: (() => unknown)[] = [];
let servers: Servers;
let children: Child<Said>[] = [];

beforeAll(async () => {
  programs = new Programs(...['app', 'calls', 'echo'].map(name => `${FOLDER}/${name}.ts`));
  const [mongo, tds, http, grpc]: [MongoServer, TdsServer, HeaderServer, Grpc] = await Promise.all([
    startMongoServer(),
    startTdsServer(),
    startHeaderServer(),
    startGrpc(),
  ]);
  closings = [() => mongo.close(), () => tds.close(), () => http.close(), () => grpc.close()];
  servers = {
    postgres: databaseUrl(),
    mariadb: process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test',
    redis: redisUrl,
    rabbit: 'amqp://guest:guest@127.0.0.1:5672',
    nats: 'nats://127.0.0.1:4222',
    mqtt: 'mqtt://127.0.0.1:1883',
    mongo: mongo.url,
    http: http.url,
    grpc: grpc.address,
    tds: tds.port,
  };
});
afterEach(async () => {
  await Promise.all(children.map(child => child.stop()));
  children = [];
});
afterAll(async () => {
  await Promise.all(closings.map(close => close()));
  programs.remove();
});

// Nest 11 has its packages elsewhere, the drivers not among them; an embedded engine has one session.
describe.skipIf(!hasRedis || isEmbedded || process.env['NEST'] === '11').each(platforms)(
  'an error in a callback over a connection that another request has opened, on %s',
  platform => {
    it(
      'is that of the request whose callback it is, or nobody’s',
      async () => {
        const app = await start({ platform, servers });
        const seen: Record<string, Record<string, readonly string[]>> = {};
        const asked: string[] = [];
        for (const call of app.calls) {
          for (const loss of CAUGHT.includes(call) ? LATER : LOSSES) {
            const { id, answered } = await app.lose(call, loss);
            asked.push(id);
            (seen[call] ??= {})[loss] = answered.map(one => (one === id ? 'its own' : 'another'));
          }
        }
        for (const [call, byLoss] of Object.entries(seen)) {
          for (const [loss, whose] of Object.entries(byLoss)) {
            const isKnown =
              BROUGHT_BACK.includes(call) || (KNOWN_LATER.includes(call) && LATER.includes(loss));
            if (isKnown) expect(whose, `${call}, ${loss}`).toEqual(['its own']);
            else expect(whose, `${call}, ${loss}`).not.toContain('another');
          }
        }
        const charged = await app.charged();
        expect(charged.filter(id => !asked.includes(id))).toEqual([]);
      },
      PATIENCE,
    );

    it(
      'is told by its callback where several throw the same object',
      async () => {
        const app = await start({ platform, servers });
        const answers: [call: string, hasAnswer: boolean][] = [
          ['pg pool.query()', true],
          ['a client of one’s own', false],
          ['mysql2 pool.query()', true],
          ['no connection at all', true],
          ['amqplib consume()', false],
        ];
        for (const [call, hasAnswer] of answers) {
          const { id, answered } = await app.lose(call, 'as a constant');
          expect(answered, call).toEqual(hasAnswer ? [id] : []);
        }
      },
      PATIENCE,
    );

    it(
      'never answers another one, in 5,000 of a mixed lot',
      async () => {
        const app = await start({ platform, servers, isMixed: true });
        const random = randomOf(4_711);
        const agent = new Agent({ keepAlive: true, maxSockets: 20 });
        const counts = { own: 0, nobody: 0, none: 0 };
        let left = 5_000;
        const work = async (): Promise<void> => {
          while (left > 0) {
            const id = `mixed-${(left -= 1)}`;
            const call = MIXED[Math.floor(random() * MIXED.length)]!;
            const losses = ['none', ...(SURVIVE.includes(call) ? [...LATER, 'itself'] : LATER)];
            const loss = losses[Math.floor(random() * losses.length)]!;
            const [status, body] = await ask(agent, `${app.url}/mixed/${encode(call)}/${encode(loss)}`, id);
            const what = `${id}: ${call}, ${loss}`;
            if (loss === 'none') {
              expect([status, body], what).toEqual([200, id]);
              counts.none += 1;
            } else if (status === 204) {
              expect(BROUGHT_BACK.includes(call), what).toBe(false);
              counts.nobody += 1;
            } else {
              expect([status, body], what).toEqual([418, expect.stringContaining(`error of ${id}"`)]);
              counts.own += 1;
            }
          }
        };
        await Promise.all(Array.from({ length: 20 }, work));
        agent.destroy();
        for (const count of Object.values(counts)) expect(count).toBeGreaterThan(500);
      },
      PATIENCE,
    );
  },
);

const encode = encodeURIComponent;

class App {
  #lost = 0;

  constructor(
    readonly child: Child<Said>,
    readonly url: string,
    readonly calls: readonly string[],
  ) {}

  /** One request opens the connection and waits; another one's callback fails. */
  async lose(call: string, loss: string): Promise<{ id: string; answered: readonly string[] }> {
    this.#lost += 1;
    const id = `b-${this.#lost}`;
    const from = this.child.said.length;
    const leave = new AbortController();
    const hang = (path: string, requestId: string): Promise<unknown> =>
      fetch(`${this.url}/${path}`, { headers: { 'x-request-id': requestId }, signal: leave.signal }).catch(
        () => undefined,
      );
    const requests = [hang(`open/${encode(call)}`, `a-${this.#lost}`)];
    await this.#hears(from, said => 'opened' in said, `opening: ${call}`);
    requests.push(hang(`use/${encode(loss)}`, id));
    const { answered } = (await this.#hears(from, said => 'error' in said, `error: ${call}, ${loss}`)) as {
      answered: readonly string[];
    };
    leave.abort();
    await Promise.all(requests);
    return { id, answered };
  }

  async charged(): Promise<readonly string[]> {
    const from = this.child.said.length;
    this.child.send('charged');
    const { charged } = (await this.#hears(from, said => 'charged' in said, 'records')) as {
      charged: readonly string[];
    };
    return charged;
  }

  #hears(from: number, is: (said: Said) => boolean, what: string): Promise<Said> {
    return hears(this.child, from, is, what);
  }
}

/** The program loads every driver, which takes a slow machine long. */
async function hears(
  child: Child<Said>,
  from: number,
  is: (said: Said) => boolean,
  what: string,
): Promise<Said> {
  const end = Date.now() + 240_000;
  for (;;) {
    const heard = child.said.slice(from).find(is);
    if (heard !== undefined) return heard;
    const refused = child.said.find(said => 'refused' in said);
    if (refused !== undefined || Date.now() > end) {
      throw new Error(`no ${what}: ${JSON.stringify(refused)} ${child.stderr}`);
    }
    await new Promise(resolve => setTimeout(resolve, 2));
  }
}

async function start(settings: CallbacksApp): Promise<App> {
  const child = programs.start<Said>(`${FOLDER}/app.ts`, settings);
  children.push(child);
  const { url, calls } = (await hears(child, 0, said => 'url' in said, 'address')) as Extract<
    Said,
    { readonly url: string }
  >;
  return new App(child, url, calls);
}

function ask(agent: Agent, url: string, id: string): Promise<[status: number, body: string]> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent, headers: { 'x-request-id': id } }, response => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => resolve([response.statusCode!, body])).on('error', reject);
    });
    request
      .on('error', reject)
      .setTimeout(120_000, () => request.destroy(new Error(`no answer: ${url} ${id}`)));
  });
}

/** The same numbers each time: https://en.wikipedia.org/wiki/Linear_congruential_generator */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) / 2 ** 32;
}

interface Grpc {
  readonly address: string;
  close(): void;
}

/** Answers what it is asked. */
async function startGrpc(): Promise<Grpc> {
  const server = new GrpcServer();
  const same = (value: Buffer): Buffer => value;
  const say = {
    path: '/test.Echo/Say',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  server.addService(
    { say },
    {
      say: (call: { request: Buffer }, answer: (e: null, value: Buffer) => void) =>
        answer(null, call.request),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { address: `127.0.0.1:${port}`, close: () => server.forceShutdown() };
}
