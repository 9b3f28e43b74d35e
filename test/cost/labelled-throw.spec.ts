import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isEmbedded } from '../support/database';
import { idKinds } from './labelled/ids';
import { innocentHandlers } from './labelled/innocent';
import { type LabelledApp, type Mode, startLabelledApp } from './labelled/labelled-app';
import { isThere, type OpenShop, openShop, openTenants, type Tenants } from './labelled/shop';

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
      ({ client, ids }) => isThere(client) && (ids === undefined || ids.includes(kind)),
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
