import { Client, Pool, Query } from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

const THREE = 'SELECT n FROM generate_series(1, 3) AS n';

/** Sends the query, calls `then` wherever the driver says something, and resolves when it is over. */
type Send = (client: Client, then: () => void) => Promise<unknown>;

const listeners: Record<string, Send> = {
  'the callback of a query': (client, then) =>
    new Promise<void>(resolve => client.query(THREE, () => (then(), resolve()))),
  'the callback of a query that fails': (client, then) =>
    new Promise<void>(resolve => client.query('SELECT * FROM no_such_table', () => (then(), resolve()))),
  'the callback of a query that times out': (client, then) =>
    new Promise<void>(resolve =>
      client.query({ text: 'SELECT pg_sleep(0.1)', query_timeout: 20 } as never, () => (then(), resolve())),
    ),
  'the callback of BEGIN': (client, then) =>
    new Promise<void>(resolve => client.query('BEGIN', () => (then(), resolve()))),
  'a row of a query object': (client, then) =>
    new Promise(resolve => client.query(new Query(THREE)).once('row', then).on('end', resolve)),
  'the end of a query object': (client, then) =>
    new Promise<void>(resolve => client.query(new Query(THREE)).on('end', () => (then(), resolve()))),
  'the error of a query object': (client, then) =>
    new Promise<void>(resolve =>
      client.query(new Query('SELECT * FROM no_such_table')).on('error', () => (then(), resolve())),
    ),
  'the callback of a query object': (client, then) =>
    new Promise<void>(resolve => void client.query(new Query(THREE, () => (then(), resolve())))),
  'the rows of a cursor': (client, then) =>
    new Promise<void>(resolve => {
      const cursor = client.query(new Cursor(THREE));
      cursor.read(2, () => {
        then();
        void cursor.close(() => resolve());
      });
    }),
  'the data of a stream': (client, then) =>
    new Promise(resolve =>
      client
        .query(new QueryStream(THREE, [], { batchSize: 2 }))
        .once('data', then)
        .on('close', resolve),
    ),
  'the second batch of a stream': (client, then) =>
    new Promise(resolve => {
      let rows = 0;
      client
        .query(new QueryStream(THREE, [], { batchSize: 2 }))
        .on('data', () => (rows += 1) === 3 && then())
        .on('close', resolve);
    }),
  'the end of a stream': (client, then) =>
    new Promise(resolve =>
      client.query(new QueryStream(THREE)).on('end', then).on('close', resolve).resume(),
    ),
};

// One connection to talk about, and one for what the listeners ask.
describe.skipIf(isEmbedded && !process.env['CI'])(
  `on a connection that another request has opened${isEmbedded ? ' (skipped: set DATABASE_URL to a PostgreSQL server)' : ''}`,
  () => {
    let test: TestApp;
    let context: ContextService;
    let opened: Client;
    let other: Client;
    let closeOpener: () => void;
    let opener: Promise<void>;

    beforeEach(async () => {
      test = await startApp({});
      context = test.app.get(ContextService);
      other = new Client({ connectionString: databaseUrl() });
      await other.connect();
      opened = new Client({ connectionString: databaseUrl() });
      const stays = new Promise<void>(resolve => {
        closeOpener = resolve;
      });
      opener = context.run({ requestId: 'opener' }, async () => {
        await opened.connect();
        await opened.query('SELECT 1');
        await stays;
      });
      await opened.query('SELECT 1');
    });
    afterEach(async () => {
      await opened.end();
      await other.end();
      await test.close();
    });

    async function recordOf(requestId: string): Promise<CostRecord> {
      return until(() => test.sink.records.find(record => record.requestId === requestId), requestId);
    }

    /** A listener's query, and the way to wait for it. */
    function ask(): { then: () => void; answered: () => Promise<unknown> } {
      let answer: Promise<unknown> | undefined;
      return {
        then: () => {
          answer = other.query('SELECT 1');
        },
        answered: () => until(() => answer, 'query of the listener'),
      };
    }

    it.each(Object.entries(listeners))('a query in %s belongs to the request', async (_name, send) => {
      let requestIdOfListener: string | undefined;
      await context.run({ requestId: 'own' }, async () => {
        const { then, answered } = ask();
        await send(opened, () => {
          requestIdOfListener = context.requestId;
          then();
        });
        await answered();
      });
      closeOpener();
      await opener;
      const { queries } = await recordOf('own');
      expect(requestIdOfListener).toBe('own');
      expect(queries.count + queries.transactions).toBe(2);
      expect((await recordOf('opener')).queries).toMatchObject({ count: 1, transactions: 0, late: 0 });
    });

    it.each(Object.entries(listeners))(
      'a query in %s of nobody is charged to nobody',
      async (_name, send) => {
        const { then, answered } = ask();
        let isActive: boolean | undefined;
        await send(opened, () => {
          ({ isActive } = context);
          then();
        });
        await answered();
        closeOpener();
        await opener;
        expect(isActive).toBe(false);
        expect((await recordOf('opener')).queries).toMatchObject({ count: 1, transactions: 0, late: 0 });
      },
    );

    it.each([1, 0])('the callback of pool.query() runs in its request, %i of them waiting', async waiting => {
      const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
      await context.run({ requestId: 'first' }, () => pool.query('SELECT 1'));
      const holder = waiting === 1 ? await pool.connect() : undefined;
      const seen = context.run(
        { requestId: 'own' },
        () =>
          new Promise<(string | undefined)[]>(resolve => {
            pool.query(THREE, () => {
              const inFirst = context.requestId;
              pool.query(THREE, () => resolve([inFirst, context.requestId]));
            });
          }),
      );
      context.run({ requestId: 'releaser' }, () => holder?.release());
      expect(await seen).toEqual(['own', 'own']);
      expect((await recordOf('own')).queries).toMatchObject({ count: 2, rows: 6 });
      await pool.end();
      closeOpener();
      await opener;
    });

    it.each<[string, Send]>([
      [
        'the callback of cursor.close()',
        (client, then) =>
          new Promise<void>(resolve => {
            const cursor = client.query(new Cursor(THREE));
            cursor.read(1, () => cursor.close(() => (then(), resolve())));
          }),
      ],
      [
        'the close of a stream that is destroyed',
        (client, then) =>
          new Promise<void>(resolve => {
            const stream = client.query(new QueryStream(THREE, [], { batchSize: 1 }));
            stream.once('data', () => stream.destroy()).on('close', () => (then(), resolve()));
          }),
      ],
      [
        'a notification',
        (client, then) =>
          new Promise<void>(resolve => {
            client.once('notification', () => (then(), resolve()));
            void client.query('LISTEN news; NOTIFY news');
          }),
      ],
    ])('%s belongs to the connection, as docs/pg.md says', async (_name, send) => {
      let seen: string | undefined;
      await context.run({ requestId: 'own' }, () => send(opened, () => (seen = context.requestId)));
      expect(seen).toBe('opener');
      closeOpener();
      await opener;
    });

    it('work of nobody that waited for the pool stays of nobody, also after a unit of work of its own', async () => {
      const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
      const holder = await pool.connect();
      const done = new Promise<boolean>(resolve => {
        pool.connect((_error, _client, release) => {
          context.run({ requestId: 'inner' }, () => undefined);
          resolve(context.isActive);
          release();
        });
      });
      context.run({ requestId: 'releaser' }, () => holder.release());
      expect(await done).toBe(false);
      await pool.end();
      closeOpener();
      await opener;
    });
  },
);
