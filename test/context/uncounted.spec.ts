import { connect as connectRabbit } from 'amqplib';
import { createConnection } from 'mysql2';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

type Callback = (error?: unknown) => void;
/** Makes one call, and says that it has ended from where the driver does. */
type Call = (done: Callback) => unknown;

let test: TestApp;
let context: ContextService;

beforeAll(async () => {
  test = await startApp({});
  context = test.app.get(ContextService);
});
afterAll(() => test.close());

/** Three calls, each from the callback of the one before. */
function inTurn(call: Call): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = 3;
    const next: Callback = error => {
      if (error) return reject(error as Error);
      if (left === 0) return resolve();
      left -= 1;
      call(next);
    };
    next();
  });
}

const apart = <T>(fn: () => T): T => context.uncounted('apart', fn);
const counted = ({ queries, messages }: CostRecord): number => queries.count + (messages?.count ?? 0);
const keptApart = ({ uncounted }: CostRecord): number | undefined =>
  uncounted && uncounted[0]!.queries + uncounted[0]!.messages!;

interface Opened {
  readonly call: Call;
  end(): unknown;
}

const CONNECTIONS: Record<string, () => Promise<Opened>> = {
  pg: async () => {
    const client = new Client({ connectionString: databaseUrl() });
    await client.connect();
    return { call: done => client.query('SELECT 1', done), end: () => client.end() };
  },
  mysql2: async () => {
    const connection = createConnection(
      process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test',
    );
    await new Promise<void>((resolve, reject) =>
      connection.connect(error => (error ? reject(error) : resolve())),
    );
    return { call: done => connection.query('SELECT 1', done), end: () => connection.destroy() };
  },
  amqplib: async () => {
    const model = await connectRabbit('amqp://127.0.0.1');
    const channel = await model.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    return {
      call: done => channel.sendToQueue(queue, Buffer.from('a'), {}, done),
      end: () => model.close(),
    };
  },
};

describe.each(Object.entries(CONNECTIONS))('a connection of %s that was opened in uncounted()', (_, open) => {
  it('counts what other units of work call on it', async () => {
    let opened: Opened | undefined;
    const opener = await recordOfUnit(test, async () => {
      opened = await apart(open);
      await apart(() => inTurn(opened!.call));
    });
    const other = await recordOfUnit(test, () => inTurn(opened!.call));
    await opened!.end();
    expect(counted(opener)).toBe(0);
    expect(counted(other)).toBe(3);
  });

  it('counts what the same unit of work calls on it outside', async () => {
    const record = await recordOfUnit(test, async () => {
      const opened = await apart(open);
      await inTurn(opened.call);
      await opened.end();
    });
    expect(counted(record)).toBe(3);
  });

  it('keeps apart what is called inside on a connection from outside', async () => {
    const record = await recordOfUnit(test, async () => {
      const opened = await open();
      await apart(() => inTurn(opened.call));
      await opened.end();
    });
    expect(counted(record)).toBe(0);
  });
});

describe('uncounted()', () => {
  let client: Client;
  const send = (): Promise<unknown> => client.query('SELECT 1');

  beforeAll(async () => {
    client = new Client({ connectionString: databaseUrl() });
    await client.connect();
  });
  afterAll(() => client.end());

  it('keeps apart what the application has measured itself', async () => {
    const record = await recordOfUnit(test, () => {
      apart(() => context.record({ system: 'cassandra', durationMs: 1 }));
      context.record({ system: 'cassandra', durationMs: 1 });
    });
    expect([counted(record), keptApart(record)]).toEqual([1, 1]);
  });

  it('keeps nothing apart of what was bound or captured in another unit of work', async () => {
    const bound: (() => Promise<unknown>)[] = [];
    let ended!: () => void;
    const other = recordOfUnit(test, async () => {
      const inside = context.snapshot();
      bound.push(context.bind(send), () => inside(send));
      await new Promise<void>(resolve => (ended = resolve));
    });
    const record = await recordOfUnit(test, () =>
      apart(async () => {
        for (const one of bound) await one();
      }),
    );
    ended();
    expect(counted(await other)).toBe(2);
    expect([counted(record), keptApart(record)]).toEqual([0, 0]);
  });

  it('goes on in what was bound or captured inside, and ends in what was outside', async () => {
    const record = await recordOfUnit(test, async () => {
      const outside = context.snapshot();
      const bound = apart(() => context.bind(send));
      const inside = apart(() => context.snapshot());
      await bound();
      await inside(send);
      await apart(() => outside(send));
    });
    expect([counted(record), keptApart(record)]).toEqual([1, 2]);
  });

  it('counts a unit of work that begins inside for itself, and then goes on', async () => {
    let within: CostRecord | undefined;
    const record = await recordOfUnit(test, () =>
      apart(async () => {
        within = await recordOfUnit(test, send);
        await send();
      }),
    );
    expect([counted(within!), keptApart(record)]).toEqual([1, 1]);
  });
});
