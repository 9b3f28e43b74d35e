import Bluebird from 'bluebird';
import DataLoader from 'dataloader';
import knex from 'knex';
import { EventEmitter } from 'node:events';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, ProcessFigures } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

let test: TestApp;
let context: ContextService;
let figures: ProcessFigures;
let pool: Pool;
let unit = 0;

const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
const ask = (): Promise<unknown> => pool.query('SELECT 1');

/** Runs work in units of their own, side by side, and gives the queries charged to each. */
async function charged(...works: (() => unknown)[]): Promise<number[]> {
  const ids = works.map(() => `unit-${(unit += 1)}`);
  await Promise.all(works.map((work, i) => context.run({ requestId: ids[i]! }, work)));
  const records = await until(() => {
    const found = ids.map(id => test.sink.records.find(({ requestId }) => requestId === id));
    return found.every(record => record !== undefined) && found;
  }, 'records');
  return records.map(record => record!.queries.count);
}

/** Queries of nobody that some work has made. */
async function lostBy(work: () => Promise<unknown>): Promise<number> {
  const before = figures.attribution.lost;
  await work();
  return figures.attribution.lost - before;
}

beforeAll(async () => {
  test = await startApp({});
  context = test.app.get(ContextService);
  figures = test.app.get(ProcessFigures);
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
});
afterAll(async () => {
  await pool.end();
  await test.close();
});

describe('a listener', () => {
  it('runs in the context of who emits: a query of nobody, repaired by context.bind()', async () => {
    const emitter = new EventEmitter();
    let done = 0;
    const listen = async (): Promise<void> => {
      await ask();
      done += 1;
    };
    const emitOutside = (event: string): Promise<unknown> =>
      new Promise(resolve => setTimeout(() => resolve(emitter.emit(event)), 5));
    const bare = charged(() => {
      emitter.once('bare', listen);
      return sleep(40);
    });
    const lost = await lostBy(async () => {
      await emitOutside('bare');
      await until(() => done === 1, 'the listener');
    });
    expect([await bare, lost]).toEqual([[0], 1]);

    const bound = charged(() => {
      emitter.once('bound', context.bind(listen));
      return sleep(40);
    });
    const none = await lostBy(async () => {
      await emitOutside('bound');
      await until(() => done === 2, 'the listener');
    });
    expect([await bound, none]).toEqual([[1], 0]);
  });
});

describe('a queue of the application’s own that calls back whoever waits', () => {
  /** The first one out calls the next: in the context of the first. */
  function oneAtATime(): { take(callback: () => void): void; give(): void } {
    const waiting: (() => void)[] = [];
    let isTaken = false;
    return {
      take(callback) {
        if (isTaken) {
          waiting.push(callback);
          return;
        }
        isTaken = true;
        callback();
      },
      give() {
        isTaken = false;
        const next = waiting.shift();
        if (next !== undefined) this.take(next);
      },
    };
  }

  const visit =
    (queue: ReturnType<typeof oneAtATime>, keep: (callback: () => void) => () => void) => (): Promise<void> =>
      new Promise(resolve => {
        const work = (): void => {
          void ask().then(() => {
            queue.give();
            setTimeout(resolve, 20);
          });
        };
        queue.take(keep(work));
      });

  it('charges the wrong one, repaired by context.bind()', async () => {
    const bare = oneAtATime();
    const as = (callback: () => void): (() => void) => callback;
    expect(await charged(visit(bare, as), visit(bare, as))).toEqual([2, 0]);
    const bound = oneAtATime();
    const keep = (callback: () => void): (() => void) => context.bind(callback);
    expect(await charged(visit(bound, keep), visit(bound, keep))).toEqual([1, 1]);
  });
});

describe('a timer that was started outside of any unit of work', () => {
  it('makes queries of nobody, repaired by context.run()', async () => {
    const tick = (work: () => Promise<unknown>): Promise<unknown> =>
      new Promise(resolve => setTimeout(() => resolve(work()), 1));
    expect(await lostBy(() => tick(ask))).toBe(1);
    expect(await lostBy(() => tick(() => context.run({ handler: 'Poller.tick' }, ask)))).toBe(0);
  });
});

describe('a lazy query', () => {
  it('is charged to who awaits it, not to who made it', async () => {
    const db = knex({ client: 'pg', connection: databaseUrl(), pool: { min: 1, max: 1 } });
    // Its first connection asks for the version of the server.
    await db.raw('SELECT 1');
    let made: PromiseLike<unknown> | undefined;
    const maker = charged(() => {
      made = db.select(db.raw('1'));
      return sleep(20);
    });
    const awaiter = charged(async () => {
      await sleep(5);
      await made;
    });
    expect([await maker, await awaiter]).toEqual([[0], [1]]);
    await db.destroy();
  });
});

describe('Bluebird', () => {
  /** Two units of work that wait for one promise, which is settled outside of both. */
  async function waiters(Promises: typeof Bluebird): Promise<{ counts: number[]; lost: number }> {
    let open = (): void => undefined;
    const gate = new Promises<void>(resolve => (open = resolve));
    const wait = (): Promise<unknown> =>
      new Promise((resolve, reject) => gate.then(ask).then(resolve, reject));
    let counts: number[] = [];
    const lost = await lostBy(async () => {
      const done = charged(wait, wait);
      setTimeout(open, 5);
      counts = await done;
    });
    return { counts, lost };
  }

  it('loses the context without asyncHooks, and keeps it with', async () => {
    expect(await waiters(Bluebird.getNewLibraryCopy())).not.toEqual({ counts: [1, 1], lost: 0 });
    const hooked = Bluebird.getNewLibraryCopy();
    hooked.config({ asyncHooks: true });
    expect(await waiters(hooked)).toEqual({ counts: [1, 1], lost: 0 });
    expect(await waiters(Promise as unknown as typeof Bluebird)).toEqual({ counts: [1, 1], lost: 0 });
  });
});

describe('a DataLoader', () => {
  const loaderOf = (): DataLoader<number, number> =>
    new DataLoader<number, number>(async keys => {
      await pool.query('SELECT unnest($1::int[])', [keys]);
      return keys;
    });

  it('of a request is charged to it: one query for all keys', async () => {
    const request = (): Promise<unknown> => {
      const loader = loaderOf();
      return Promise.all([1, 2, 3].map(key => loader.load(key)));
    };
    expect(await charged(request, request)).toEqual([1, 1]);
    expect(test.logs.of('warn', 'AsyncContext').filter(line => line.includes('DataLoader'))).toEqual([]);
  });

  it('that requests share is charged to the first, which is said once', async () => {
    const shared = loaderOf();
    const request = (key: number) => () => Promise.all([shared.load(key), shared.load(key + 1)]);
    expect(await charged(request(1), request(3), request(5))).toEqual([1, 0, 0]);
    const lines = test.logs.of('warn', 'AsyncContext').filter(line => line.includes('DataLoader'));
    expect(lines).toEqual([expect.stringContaining('Create a DataLoader per request')]);
  });

  it('is as it was once the application is closed', async () => {
    const replaced = DataLoader.prototype.load;
    await test.close();
    expect(DataLoader.prototype.load).not.toBe(replaced);
    expect(String(DataLoader.prototype.load)).not.toContain('contextStorage');
  });
});
