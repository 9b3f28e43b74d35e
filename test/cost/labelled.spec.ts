import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isEmbedded } from '../support/database';
import { seeded } from '../support/random';
import { guiltyHandlers } from './labelled/guilty';
import { type IdKind, idKinds } from './labelled/ids';
import { innocentHandlers } from './labelled/innocent';
import { type Answer, type LabelledApp, type Mode, startLabelledApp } from './labelled/labelled-app';
import type { LabelledHandler } from './labelled/labelled-handler';
import { findingsOf, type Half, halfOf, halves, labelsOf, LEAST_ROWS, Scores } from './labelled/score';
import { isThere, type OpenShop, openShop, openTenants, type Tenants } from './labelled/shop';

/**
 * What is asked of the findings that are proven. Measured are a recall of 0.985 and 0.973: what is missed are days and
 * times, three payments or fewer of a filtered list, and a function that a guard's rows fit as well.
 */
const REQUIRED: Record<Half, { precision: number; recall: number }> = {
  tune: { precision: 1, recall: 0.97 },
  'held-out': { precision: 1, recall: 0.965 },
};

const isFull = process.env['LABELLED'] === 'full';
const SIZES = [7, 12, 6, 0, 9, 15, 2, 10];

/** Lists of 6 to 24 rows; every seventh is of less, as lists are now and then. */
function changingSizes(count: number, seed: number): number[] {
  const random = seeded(seed);
  return Array.from({ length: count }, (_, i) =>
    i % 7 === 6 ? Math.floor(random() * 3) : 6 + Math.floor(random() * 19),
  );
}

const guarded = (permissions: number): Mode => ({
  name: `first request, behind a guard of ${permissions}`,
  sizes: [7],
  permissions,
});

const modes: Mode[] = isFull
  ? [
      { name: 'first request', sizes: [7] },
      ...Array.from({ length: 10 }, (_, i) => guarded(3 + i)),
      { name: '40 requests', sizes: changingSizes(40, 1) },
      { name: '20 at once', sizes: changingSizes(20, 2), atOnce: true },
    ]
  : [{ name: 'first request', sizes: [7] }, guarded(4), { name: '8 requests', sizes: SIZES }];
/** A sequence takes its time: in the short form it is asked for with one kind of ids. */
const modesOf = (kind: IdKind): Mode[] =>
  isFull || kind === 'irregular' ? modes : modes.filter(({ sizes }) => sizes.length === 1);

const handlers = [...innocentHandlers, ...guiltyHandlers].filter(({ client }) => isThere(client));
const handlersOf = (kind: IdKind): LabelledHandler[] =>
  handlers.filter(({ ids }) => ids === undefined || ids.includes(kind));

const scores = new Scores();
/** Handlers whose label, or whose code, is wrong. */
const broken = new Set<string>();
const lookUps = { named: 0, of: 0 };

function add(kind: IdKind, mode: Mode, answer: Answer): void {
  const { handler, request, record, status } = answer;
  if (status !== 200) broken.add(`${handler.name} (${kind}, ${mode.name}): status ${status}`);
  const labels = request.size < LEAST_ROWS ? [] : labelsOf(handler, request);
  for (const { tables } of record.queries.shapesDropped > 0 ? [] : labels) {
    const isThere = record.queries.shapes.some(
      shape => shape.count >= 3 && tables.includes((shape.table ?? '').split('.').at(-1)!),
    );
    if (!isThere)
      broken.add(`${handler.name} (${kind}, ${mode.name}): ${tables.join(' or ')} does not repeat`);
  }
  const guilt = handler.repeats.length > 0 ? 'guilty' : 'innocent';
  const half = halfOf(handler);
  scores.add(
    answer,
    `half ${half}`,
    `mode ${guilt}, ${mode.name}`,
    `kind ${guilt}, ${handler.kind}, ${half}`,
    `ids ${kind}`,
  );
  if (handler.lookUps !== undefined && request.size >= LEAST_ROWS) {
    lookUps.of += 1;
    if (findingsOf(record).some(({ kind, table }) => kind === 'look-ups' && table === handler.lookUps))
      lookUps.named += 1;
  }
}

it('has handlers with names of their own, and enough of them', () => {
  const names = [...innocentHandlers, ...guiltyHandlers].map(({ name }) => name);
  expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  expect(innocentHandlers.length).toBeGreaterThanOrEqual(60);
  expect(guiltyHandlers.length).toBeGreaterThanOrEqual(60);
});

// An embedded engine has one connection, and these handlers want several.
if (isEmbedded) console.warn('skipped: no PostgreSQL for the labelled handlers');
describe.skipIf(isEmbedded)(`${handlers.length} labelled handlers`, () => {
  let tenants: Tenants;
  beforeAll(async () => {
    tenants = await openTenants();
  });
  afterAll(async () => {
    await tenants.close();
    const lines = [
      scores.table('by mode', 'mode '),
      scores.table('by kind of ids', 'ids '),
      scores.table('by half', 'half '),
      `look-ups: ${lookUps.named} of ${lookUps.of} named`,
      ...(scores.hookErrors.length === 0 ? [] : [scores.table('by kind and half', 'kind ')]),
      ...scores.hookErrors.toSorted(),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  });

  describe.each(idKinds)('with ids that are %s', kind => {
    let shop: OpenShop;
    let app: LabelledApp;
    beforeAll(async () => {
      shop = await openShop(kind, tenants);
      app = await startLabelledApp(shop, handlersOf(kind), modesOf(kind));
    });
    afterAll(async () => {
      await app?.close();
      await shop?.close();
    });

    it.each(modesOf(kind).map(mode => [mode.name, mode] as const))('%s', async (_, mode) => {
      for (const answer of await app.ask(mode)) add(kind, mode, answer);
    });
  });

  it('all do what their labels say', () => {
    expect([...broken]).toEqual([]);
  });

  it.each(halves)('are told apart (%s)', half => {
    const { precision, recall } = scores.of(`half ${half}`);
    expect(precision).toBeGreaterThanOrEqual(REQUIRED[half].precision);
    expect(recall).toBeGreaterThanOrEqual(REQUIRED[half].recall);
  });
});
