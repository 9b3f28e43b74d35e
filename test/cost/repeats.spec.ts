import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type RepeatFinding } from 'nestjs-async-context';
import { isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';
import { type Expected, type RepeatHandler, repeatHandlers } from './repeat-handlers/handlers';
import { openShop, type Shop } from './repeat-handlers/shop';

/** As many lists as a handler may meet in a minute; the first is judged alone. */
const SIZES = [7, 4, 9, 12, 0, 6];

let shop: Shop;
let test: TestApp;

const bare = (table = ''): string => table.slice(table.lastIndexOf('.') + 1);

function describeFinding({ kind, confidence, table, parents }: RepeatFinding): string {
  const from = parents.map(parent => bare(parent.table)).sort();
  return [
    confidence === 'suspected' ? confidence : kind,
    bare(table),
    ...(from.length > 0 ? ['for', ...from] : []),
  ].join(' ');
}

function describeExpected(expected: Expected): string {
  const from = 'parents' in expected ? ['for', ...expected.parents.toSorted()] : [];
  return [expected.kind, expected.table, ...from].join(' ');
}

/** What is found in one request of a handler, under a name that its history goes by. */
async function findingsOf(
  handler: RepeatHandler,
  name: string,
  size: number,
): Promise<{ findings: string[]; frequent: string[] }> {
  const requestId = `${name} ${size} ${Math.random()}`.replaceAll(/[^\w-]/g, '_').slice(0, 190);
  await test.app.get(ContextService).run({ requestId, handler: name }, () => handler.run(shop, size));
  const record = await until(() => test.sink.records.find(one => one.requestId === requestId), 'record');
  const frequent = record.queries.shapes.filter(({ count }) => count >= 5).map(({ table }) => bare(table));
  return { findings: (record.findings ?? []).map(describeFinding).sort(), frequent };
}

/** Only proven N+1 are precision and recall of; the other kinds have to be right as well, and are listed. */
const nPlusOnes = (found: readonly string[]): string[] => found.filter(text => text.startsWith('n-plus-one'));

interface Score {
  right: number;
  missed: string[];
  wrong: string[];
}

function add(score: Score, handler: string, found: readonly string[], expected: readonly string[]): void {
  const rest = [...nPlusOnes(expected)];
  for (const one of nPlusOnes(found)) {
    const at = rest.indexOf(one);
    if (at < 0) score.wrong.push(`${handler}: ${one}`);
    else {
      rest.splice(at, 1);
      score.right += 1;
    }
  }
  score.missed.push(...rest.map(one => `${handler}: ${one}`));
}

/** What a rule that only counts would say: it names no parent, so the table is enough. */
function addFrequent(
  score: Score,
  handler: string,
  frequent: readonly string[],
  expected: readonly Expected[],
): void {
  const described = expected
    .filter(({ kind }) => kind === 'n-plus-one')
    .map(({ table }) => `n-plus-one ${table}`);
  add(
    score,
    handler,
    frequent.map(table => `n-plus-one ${table}`),
    described,
  );
}

function summary(title: string, { right, missed, wrong }: Score): string {
  const precision = right / (right + wrong.length);
  const recall = right / (right + missed.length);
  return [
    `${title}: precision ${precision.toFixed(3)}, recall ${recall.toFixed(3)} (${right} found)`,
    ...missed.map(text => `  missed ${text}`),
    ...wrong.map(text => `  false  ${text}`),
  ].join('\n');
}

// An embedded engine has one connection, and these handlers want several.
describe.skipIf(isEmbedded)(`${repeatHandlers.length} handlers`, () => {
  const alone: Score = { right: 0, missed: [], wrong: [] };
  const overRequests: Score = { right: 0, missed: [], wrong: [] };
  const byCount: Score = { right: 0, missed: [], wrong: [] };

  beforeAll(async () => {
    test = await startApp({});
    shop = await openShop();
  });
  afterAll(async () => {
    await shop.close();
    await test.close();
    console.log(
      [
        summary('one request', alone),
        summary('several requests', overRequests),
        summary('for comparison: a shape that ran five times, in one request', byCount),
      ].join('\n'),
    );
  });

  it.each(repeatHandlers.map(handler => [handler.name, handler] as const))('%s', async (name, handler) => {
    const expected = handler.expected.map(describeExpected).sort();
    const { findings: first, frequent } = await findingsOf(handler, `alone: ${name}`, SIZES[0]!);
    addFrequent(byCount, name, frequent, handler.expected);
    const inOne = handler.alone?.map(describeExpected).sort();
    add(alone, name, first, inOne ?? (handler.overRequests === undefined ? expected : []));

    for (const size of SIZES) await findingsOf(handler, name, size);
    const { findings: after } = await findingsOf(handler, name, SIZES[0]!);
    add(overRequests, name, after, expected);
    expect(after).toEqual(expected);
    if (inOne !== undefined || handler.overRequests === undefined) expect(first).toEqual(inOne ?? expected);
  });

  it('are told apart with a precision and a recall of 1', () => {
    expect([overRequests.wrong, overRequests.missed]).toEqual([[], []]);
    expect([alone.wrong, alone.missed]).toEqual([[], []]);
  });
});
