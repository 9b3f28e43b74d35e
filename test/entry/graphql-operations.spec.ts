import type { Client } from 'graphql-ws';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import {
  allSent,
  type Answer,
  closePool,
  connect,
  gate,
  guarded,
  type Order,
  placed,
  post,
  runOver,
  sent,
  stacks,
  startGraphql,
  subscribe,
} from '../support/graphql-app';
import { type TestApp, until } from '../support/platforms';

afterAll(() => closePool());

describe.each(stacks)('GraphQL operations: $name', stack => {
  const isApollo = stack.driver === 'apollo';
  /** Over WebSocket, Apollo makes a context for each operation, and Mercurius one for the connection. */
  const ofContext = isApollo ? 1 : 0;
  let test: TestApp;
  let client: Client;

  beforeAll(async () => {
    test = await startGraphql(stack);
    sent.clear();
    client = connect(test);
    await runOver(client, '{ fast }');
    await test.records(1);
  });
  beforeEach(async () => {
    await settled(test);
    test.sink.clear();
    sent.clear();
    guarded.length = 0;
  });
  afterAll(async () => {
    await client.dispose();
    await test.close();
  });

  const byHandler = (name: string): CostRecord[] =>
    test.sink.records.filter(({ handler }) => handler === `OrdersResolver.${name}`);
  const handled = (name: string, count = 1): Promise<CostRecord[]> =>
    until(() => byHandler(name).length >= count && byHandler(name), `${count} records of ${name}`);
  /** Each statement that was sent is in a record. */
  const expectAllCharged = (): void => {
    const charged = test.sink.records.reduce((all, { queries }) => all + queries.count + queries.late, 0);
    expect(charged).toBe(allSent());
  };

  /** Mercurius lets go of a filtered stream when its next event has passed the filter. */
  const everybodyHasLeft = (): Promise<boolean> =>
    until(() => {
      if (!isApollo && placed.size > 0) placed.publish({ orderPlaced: { id: 1_000 } });
      return placed.size === 0;
    }, 'everybody has left');

  describe.each(['HTTP', 'WebSocket'])('over %s', transport => {
    const isHttp = transport === 'HTTP';
    const run = (query: string): Promise<Answer> =>
      isHttp ? post(test, { query }).then(({ answer }) => answer) : runOver(client, query);
    const more = isHttp ? 1 : ofContext;

    it('are one unit of work, guards, fields and loaders alike', async () => {
      const { data } = await run('{ orders(count: 10) { id items customer requestId } }');
      const [record] = await handled('orders');
      const orders = data!['orders'] as Order[];
      expect(orders[3]).toMatchObject({ id: 3, items: 3, customer: 'customer 3' });
      expect(new Set(orders.map(order => order.requestId))).toEqual(new Set([record!.requestId]));
      expect(guarded).toEqual([record!.requestId]);
      expect(record).toMatchObject({
        kind: 'graphql',
        route: 'Query.orders',
        userId: 'ann',
        aborted: false,
        queries: { count: 23 + more, late: 0 },
      });
      expect(
        record!.queries.shapes
          .map(({ count }) => count)
          .toSorted((a, b) => b - a)
          .slice(0, 2),
      ).toEqual([10, 10]);
      expect(test.sink.records).toHaveLength(1);
      expectAllCharged();
    });

    it('are called by their first root field, whichever guard is faster', async () => {
      await run('query { __typename ...First fast } fragment First on Query { first: slow }');
      const [record] = await handled('slow');
      expect(record).toMatchObject({ route: 'Query.slow', queries: { count: 2 + more } });
      expect(test.sink.records).toHaveLength(1);
    });

    it('may cost what the most expensive of their root fields may', async () => {
      await run('{ fast orders(count: 20) { items } }');
      const [record] = await handled('fast');
      expect(record).toMatchObject({ queries: { count: 23 + more }, breaches: [] });
      expect(test.sink.records).toHaveLength(1);
    });

    it('breach their budget once, as one', async () => {
      await run('{ orders(count: 50) { items } }');
      const [record] = await handled('orders');
      expect(record!.breaches).toEqual([
        { dimension: 'queries', used: 52 + more, limit: 40, from: '@QueryBudget on OrdersResolver.orders' },
      ]);
      expect(test.sink.records).toHaveLength(1);
    });

    it('have a handler and an error when a guard refuses them', async () => {
      const { errors } = await run('{ refused }');
      expect(errors).toHaveLength(1);
      const [record] = await handled('notForYou');
      expect(record).toMatchObject({
        kind: 'graphql',
        route: 'Query.refused',
        error: 'ForbiddenException',
        queries: { count: 1 + more },
      });
      expectAllCharged();
    });

    it('have the error of a field', async () => {
      await run('{ orders(count: 2) { broken } }');
      const [record] = await handled('orders');
      expect(record).toMatchObject({ error: 'RangeError', queries: { count: 4 + more } });
    });

    it('keep apart when they run at once', async () => {
      const counts = Array.from({ length: 30 }, (_, i) => 1 + (i % 8));
      const answers = await Promise.all(
        counts.map(count => run(`{ orders(count: ${count}) { requestId items customer } }`)),
      );
      await handled('orders', counts.length);
      for (const [i, { data }] of answers.entries()) {
        const orders = data!['orders'] as Order[];
        const record = test.sink.records.find(({ requestId }) => requestId === orders[0]!.requestId);
        // A loader of the connection loads for several operations at once, or has loaded already.
        const own = 2 + 2 * counts[i]! + more;
        expect(record!.queries.count - own).toBeLessThanOrEqual(1);
        expect(record!.queries.count).toBeGreaterThanOrEqual(own);
        expect(new Set(orders.map(order => order.requestId)).size).toBe(1);
      }
      expect(test.sink.records).toHaveLength(counts.length);
      expectAllCharged();
    });

    it('are units of work without a handler where they only ask for the schema', async () => {
      const { data } = await run('{ __schema { queryType { name } } }');
      expect(data).toEqual({ __schema: { queryType: { name: 'Query' } } });
      const [record] = await test.records(1);
      expect(record).toMatchObject({ kind: 'graphql', queries: { count: more } });
      expect(record).not.toHaveProperty('handler');
      expect(record).not.toHaveProperty('error');
    });
  });

  it('of a batch have a unit of work each, below their request', async () => {
    const queries = [
      '{ orders(count: 3) { requestId items } }',
      '{ who slow }',
      '{ refused }',
      '{ nonsense }',
    ];
    const { answer, requestId } = await post<Answer[]>(
      test,
      queries.map(query => ({ query })),
      'bob',
    );
    expect(answer).toHaveLength(4);
    const request = await until(
      () => test.sink.records.find(record => record.requestId === requestId),
      'record of the request',
    );
    expect(request).toMatchObject({ method: 'POST', status: 200 });
    const [orders] = await handled('orders');
    const [who] = await handled('who');
    const [refused] = await handled('notForYou');
    expect(orders).toMatchObject({ parentRequestId: requestId, userId: 'bob', queries: { count: 8 } });
    expect(new Set((answer[0]!.data!['orders'] as Order[]).map(order => order.requestId))).toEqual(
      new Set([orders!.requestId]),
    );
    expect(who).toMatchObject({ parentRequestId: requestId, kind: 'graphql', queries: { count: 2 } });
    expect(refused).toMatchObject({ parentRequestId: requestId, error: 'ForbiddenException' });
    expect(request.queries.count).toBe(1);
    expectAllCharged();
  });

  it('are recorded when they are refused before they are executed', async () => {
    for (const query of ['{ orders(', '{ nonsense }']) await post(test, { query });
    const records = await test.records(2);
    for (const { kind, handler, error } of records) {
      expect({ kind, handler }).toEqual({ kind: 'graphql', handler: undefined });
      expect(error).toMatch(/Error|MER_ERR/);
    }
  });

  it('give each event to each subscriber as a unit of work, below the operation that has subscribed', async () => {
    const subscribers = Array.from({ length: 51 }, () =>
      subscribe(client, 'subscription { orderPlaced(from: 10) { id requestId items customer } }'),
    );
    const operations = await handled('orderPlaced', 51);
    expect(operations[0]).toMatchObject({
      kind: 'graphql',
      route: 'Subscription.orderPlaced',
      userId: 'ann',
      queries: { count: 2 + ofContext },
    });
    await until(() => placed.size === 51, '51 subscribers');
    // A filter that costs nothing leaves nothing.
    await post(test, { query: 'mutation { placeOrder(id: 9) }' });
    for (const id of [10, 11]) await post(test, { query: `mutation { placeOrder(id: ${id}) }` });
    await until(() => subscribers.every(({ answers }) => answers.length === 2), 'two events each');
    const records = await handled('orderPlaced', 153);
    const events = records.filter(({ parentRequestId }) => parentRequestId !== undefined);
    expect(events).toHaveLength(102);
    const ids = new Set(operations.map(({ requestId }) => requestId));
    for (const event of events) {
      expect(event).toMatchObject({ kind: 'graphql', route: 'Subscription.orderPlaced', userId: 'ann' });
      expect(ids.has(event.parentRequestId!)).toBe(true);
      expect(event.queries.count).toBeGreaterThanOrEqual(2);
      expect(event.queries.late).toBe(0);
    }
    const seen = subscribers.flatMap(({ answers }) =>
      answers.map(({ data }) => (data!['orderPlaced'] as Order).requestId),
    );
    expect(new Set(seen)).toEqual(new Set(events.map(({ requestId }) => requestId)));
    const mutations = await handled('placeOrder', 3);
    for (const { queries } of mutations) expect(queries.count).toBe(2);
    for (const { leave } of subscribers) leave();
    await everybodyHasLeft();
    await until(() => settledNow(test), 'records of all that was sent');
    expectAllCharged();
  });

  it('charge the query of a filter to its event, also when it says no', async () => {
    const { answers, leave } = subscribe(client, 'subscription { orderPlaced(from: 100) { id items } }');
    const [operation] = await handled('orderPlaced');
    await until(() => placed.size === 1, 'a subscriber');
    await post(test, { query: 'mutation { placeOrder(id: 1) }' });
    await until(() => sent.get('filter') === 1, 'a filter');
    await post(test, { query: 'mutation { placeOrder(id: 100) }' });
    await until(() => answers.length === 1, 'an event');
    leave();
    const records = await handled('orderPlaced', 3);
    const events = records.filter(({ parentRequestId }) => parentRequestId === operation!.requestId);
    expect(events.map(({ queries }) => queries.count)).toEqual([1, 2]);
    await everybodyHasLeft();
    await handled('placeOrder', 2);
    await until(() => settledNow(test), 'records of all that was sent');
    expectAllCharged();
  });

  it('go on when their client leaves, and say so', async () => {
    const own = connect(test, 'eve');
    const running = runOver(own, '{ wait }').catch(() => 'left');
    const letGo = await until(() => gate.open, 'the operation');
    gate.open = undefined;
    own.terminate();
    expect(await running).toBe('left');
    // Its connection has been closed here as well when another one is served.
    await post(test, { query: '{ fast }' });
    letGo();
    const [record] = await handled('wait');
    expect(record).toMatchObject({ kind: 'graphql', queries: { count: 1 + ofContext, late: 0 } });
    if (isApollo) expect(record!.aborted).toBe(true);
    await until(() => settledNow(test), 'the end');
    expectAllCharged();
  });

  it('leave the request for their connection, which ends with the handshake', async () => {
    const own = connect(test, 'bob');
    await runOver(own, '{ fast }');
    const upgrade = await until(
      () => test.sink.records.find(({ status }) => status === 101),
      'record of the upgrade',
    );
    expect(upgrade).toMatchObject({
      kind: 'http',
      method: 'GET',
      route: isApollo ? 'GET (upgrade)' : 'GET /graphql',
      aborted: false,
      queries: { count: 0, late: 0 },
    });
    expect(upgrade).not.toHaveProperty('handler');
    const [fast] = await handled('fast');
    expect(fast!.requestId).not.toBe(upgrade.requestId);
    const hook = await until(
      () => test.sink.records.find(({ handler }) => handler === 'graphql.onConnect'),
      'record of a hook',
    );
    expect(hook).toMatchObject({ kind: 'graphql', queries: { count: isApollo ? 1 : 2 } });
    await own.dispose();
  });

  it('are as many units of work on a second connection, whose user is another one', async () => {
    const own = connect(test, 'bob');
    for (let i = 0; i < 5; i += 1) await runOver(own, '{ orders(count: 1) { id } }');
    await own.dispose();
    const records = await handled('orders', 5);
    for (const { userId, queries } of records) {
      expect({ userId, count: queries.count }).toEqual({ userId: 'bob', count: 2 + ofContext });
    }
    expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(5);
    await until(() => settledNow(test), 'the hooks of the connection');
    expectAllCharged();
  });
});

describe.each(stacks)("onExceeded: 'throw' over WebSocket: $name", stack => {
  let test: TestApp;
  let client: Client;

  beforeAll(async () => {
    test = await startGraphql(stack, { onExceeded: 'throw' });
    client = connect(test);
  });
  afterEach(() => test.sink.clear());
  afterAll(async () => {
    await client.dispose();
    await test.close();
  });

  it('refuses the operation that costs too much, and none after it', async () => {
    const { errors } = await runOver(client, '{ orders(count: 60) { items } }');
    expect(errors?.length).toBeGreaterThan(0);
    for (let i = 0; i < 30; i += 1) {
      expect(await runOver(client, '{ orders(count: 10) { items } }')).not.toHaveProperty('errors');
    }
    const records = await test.records(31);
    const error = records.find(({ handler }) => handler === 'OrdersResolver.orders')?.error;
    expect(error).toBe('QueryBudgetExceededError');
  });
});

/** Whether each statement that was sent has come into a record. */
function settledNow(test: TestApp): boolean {
  const charged = test.sink.records.reduce((all, { queries }) => all + queries.count + queries.late, 0);
  return charged >= allSent();
}

/** Waits for the records of what ran before: they are written in batches. */
async function settled(test: TestApp): Promise<void> {
  await until(() => settledNow(test), 'records of all that was sent');
  await new Promise(resolve => setTimeout(resolve, 60));
}
