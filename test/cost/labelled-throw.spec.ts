import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isEmbedded } from '../support/database';
import { idKinds } from './labelled/ids';
import { innocentHandlers } from './labelled/innocent';
import { type LabelledApp, type Mode, startLabelledApp } from './labelled/labelled-app';
import { isThere, type OpenShop, openShop, openTenants, type Tenants } from './labelled/shop';

/** Innocent handlers that a budget of no repeats stops all the same: to become empty. */
const KNOWN: readonly string[] = [
  'Mongoose: four fixed customers',
  'better-sqlite3: counts by status',
  'ANY for ten at a time',
  'Drizzle: four fixed products',
  'FETCH until there is no more',
  'IN for three at a time',
  'Knex: batchInsert',
  'Knex: whereIn in chunks',
  'Kysely: counts by status',
  'Prisma: counts by status',
  'Prisma: pages',
  'TypeORM: counts by status',
  'TypeORM: pages',
  'a DataLoader of three at a time',
  'a code that is free',
  'a database for each tenant',
  'a database for each tenant, all at once',
  'a health check',
  'a heartbeat between chunks',
  'a lock for each of a few',
  'a name that is taken',
  'a queue that is emptied one at a time',
  'a schema for each tenant',
  'a tree, level by level',
  'an order of the body that is written',
  'as many products as the guard loads permissions',
  'as many rows changed as products asked for',
  'audit lines of one order',
  'channels that are told',
  'counts by status in the order of the list',
  'counts by status',
  'counts by status, after a list with that column',
  'days as Date',
  'deleted in parts until nothing is left',
  'five audit lines',
  'four pages',
  'four rows changed, then four products',
  'four shards',
  'from one month to the next',
  'from one to the next, to the end',
  'ids of the body',
  'ids of the body, after a list of something else',
  'ids of the body, all at once',
  'ids of the body, in their order',
  'jobs that are claimed one at a time',
  'lines of a file that are written',
  'mariadb: polled',
  'mariadb: what the user may do',
  'migrations that are looked for',
  'migrations that are pending',
  'mongodb: batches of its own cursor',
  'mysql2: IN in chunks',
  'mysql2: counts by status',
  'mysql2: four fixed products',
  'mysql2: pages',
  'numbered steps',
  'numbers of a sequence',
  'pages after the last day and id',
  'pages after the last id',
  'pages of one, as many as there are rows',
  'polled until it is done',
  'postgres: five audit lines',
  'progress of one job',
  'rates by weight',
  'redis: ids of a list in Redis',
  'savepoints',
  'set_config before each statement',
  'set_config for each tenant',
  'settings by key',
  'settings by key, after all keys',
  'seven days, in the order of the list',
  'six products of the front page',
  'six products, after a list of orders',
  'steps of a price',
  'tabs of fixed categories, after a list with that column',
  'tenths of a list',
  'the five years',
  'the last seven days',
  'the twelve months',
  'up to the root',
  'updated with ANY, in chunks',
  'what the user may do',
  'who manages whom, four levels up',
  'words that are searched for',
  'written in chunks of five',
];

const modes: Mode[] = [
  { name: 'alone', sizes: [7, 12] },
  { name: 'behind a guard', sizes: [7, 9], permissions: 4 },
];

// An embedded engine has one connection, and these handlers want several.
if (isEmbedded) console.warn('skipped: no PostgreSQL for the labelled handlers');

describe.skipIf(isEmbedded)('with repeats: 0 and onExceeded: throw', () => {
  let tenants: Tenants;
  beforeAll(async () => {
    tenants = await openTenants();
  });
  afterAll(() => tenants.close());

  describe.each(idKinds)('and ids that are %s', kind => {
    const handlers = innocentHandlers.filter(
      ({ client, ids, name }) =>
        isThere(client) && (ids === undefined || ids.includes(kind)) && !KNOWN.includes(name),
    );
    let shop: OpenShop;
    let app: LabelledApp;

    beforeAll(async () => {
      shop = await openShop(kind, tenants);
      app = await startLabelledApp(shop, handlers, modes, {
        budget: { repeats: 0 },
        onExceeded: 'throw',
      });
    });
    afterAll(async () => {
      await app?.close();
      await shop?.close();
    });

    it.each(modes.map(mode => [mode.name, mode] as const))(
      'no innocent handler fails %s',
      async (_, mode) => {
        const failed = (await app.ask(mode)).filter(({ status }) => status !== 200);
        expect([...new Set(failed.map(({ handler }) => handler.name))]).toEqual([]);
      },
    );
  });
});

it('knows its exceptions by name', () => {
  const names = innocentHandlers.map(({ name }) => name);
  expect(KNOWN.filter(name => !names.includes(name))).toEqual([]);
});
