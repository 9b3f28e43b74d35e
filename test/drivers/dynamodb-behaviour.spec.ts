import { DynamoDB, DynamoDBClient, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { Controller, Get, Query } from '@nestjs/common';
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { dynamodbInstrumentation } from '../../lib/drivers/dynamodb/dynamodb.driver';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { type DynamodbServer, startDynamodb } from '../support/dynamodb-server';
import { platforms, startApp, type TestApp } from '../support/platforms';

type Send = (this: unknown, ...args: unknown[]) => unknown;
type Callback = (error: unknown, output?: unknown) => void;

const load = createRequire(import.meta.url);
const { Client: SmithyClient } = load('@smithy/core/client') as {
  Client: { new (config: object): { send: Send }; prototype: { send: Send } };
};
const facts = () => Object.getOwnPropertyDescriptors(SmithyClient.prototype);
const bareFacts = facts();

const orders = `orders-${process.pid}`;

let server: DynamodbServer;
let client: DynamoDB;
let opened: TestApp[] = [];

async function start(options: Parameters<typeof startApp>[0] = {}): Promise<TestApp> {
  const test = await startApp({
    instrumentations: [dynamodbInstrumentation(), httpInstrumentation()],
    ...options,
  });
  opened.push(test);
  return test;
}

/** Two connections. */
const connect = (endpoint: string): DynamoDB =>
  new DynamoDB({
    endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts: 1,
    requestHandler: { httpAgent: { maxSockets: 2 } },
  });

beforeAll(async () => {
  server = await startDynamodb();
  client = connect(server.url);
  for (const id of ['1', '2', '3']) {
    await client.send(new PutItemCommand({ TableName: orders, Item: { id: { S: id } } }));
  }
});
afterAll(async () => {
  client.destroy();
  await server.close();
});
afterEach(async () => {
  await Promise.all(opened.map(test => test.close()));
  opened = [];
});

@Controller()
class WorkController {
  constructor(private readonly context: ContextService) {}

  @Get('work')
  async work(@Query('calls') calls: string) {
    const all = Array.from({ length: Number(calls) });
    await Promise.all(all.map(() => client.send(new ScanCommand({ TableName: orders }))));
    // Each callback sends the next.
    await new Promise<void>((resolve, reject) => {
      const next = (left: number): void => {
        if (left === 0) return resolve();
        client.scan({ TableName: orders }, (error: unknown) =>
          error ? reject(error as Error) : next(left - 1),
        );
      };
      next(all.length);
    });
    return this.context.requestId;
  }
}

describe.each(platforms)('20 requests at once over 2 connections, on %s', platform => {
  it('are each charged their own commands, with promises and with callbacks', async () => {
    const test = await start({ platform, controllers: [WorkController] });
    const expected = new Map<string, number>();
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const calls = (n * 7) % 13;
        expected.set(await (await fetch(`${test.url}/work?calls=${calls}`)).text(), 2 * calls);
      }),
    );
    for (const { requestId, queries, http } of await test.records(20)) {
      const calls = expected.get(requestId)!;
      expect([queries.count, queries.rows, http]).toEqual([calls, 3 * calls, undefined]);
    }
  });
});

/** What does not differ from one answer to the next. */
function plain(output: unknown): unknown {
  const { $metadata, ...rest } = output as { $metadata?: { httpStatusCode?: number; attempts?: number } };
  return { ...rest, status: $metadata?.httpStatusCode, attempts: $metadata?.attempts };
}

const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => ['resolved', plain(value)],
    (error: Error) => ['rejected', error.constructor.name, error.name, error.message],
  );

/** How a callback is called, and what the call returns. */
const called = (send: (callback: Callback) => unknown): Promise<unknown[]> =>
  new Promise(resolve => {
    let isSync = true;
    const result = send(function (this: unknown, ...args: unknown[]) {
      const [error, output] = args;
      resolve([
        this === undefined,
        isSync,
        result instanceof Promise ? 'promise' : result,
        args.length,
        error instanceof Error ? error.name : error,
        output === undefined ? undefined : plain(output),
      ]);
    });
    isSync = false;
  });

const thrown = (work: () => unknown): unknown => {
  try {
    return ['returned', typeof work()];
  } catch (error) {
    return ['thrown', (error as Error).constructor.name, (error as Error).message];
  }
};

const scan = (table: string) => new ScanCommand({ TableName: table });

const shapes: Record<string, () => unknown> = {
  'a promise': () => settled(client.send(scan(orders))),
  'a promise with options': () => settled(client.send(scan(orders), { requestTimeout: 1_000 })),
  'a callback': () => called(callback => client.send(scan(orders), callback)),
  'options and a callback': () => called(callback => client.send(scan(orders), {}, callback)),
  'a method of the client': () => settled(client.scan({ TableName: orders })),
  'a method with a callback': () => called(callback => client.scan({ TableName: orders }, callback)),
  'an error': () => settled(client.send(scan('none-a'))),
  'an error to a callback': () => called(callback => client.send(scan('none-a'), callback)),
  'a connection that breaks': () => settled(client.send(scan('cut-a'))),
  'an abort': () => settled(client.send(scan('slow-a'), { abortSignal: AbortSignal.timeout(20) })),
  'input that is wrong': () => settled(client.send(new PutItemCommand({ TableName: orders } as never))),
  'no command': () => [
    thrown(() => client.send(undefined as never)),
    thrown(() => client.send({} as never)),
    thrown(() => client.send({ input: {} } as never)),
  ],
  'a middleware of its own': async () => {
    const one = connect(server.url);
    const seen: unknown[] = [];
    one.middlewareStack.add(
      (next, context) => async args => {
        seen.push(context.commandName, args.input);
        return next(args);
      },
      { step: 'initialize' },
    );
    const result = await settled(one.send(scan(orders)));
    one.destroy();
    return [result, seen];
  },
};

describe('a command that is counted', () => {
  it.each(Object.keys(shapes))('behaves as one that is not: %s', async name => {
    const bare = await shapes[name]!();
    const context = (await start()).app.get(ContextService);
    const [result, counted] = await context.run({}, async () => [
      await shapes[name]!(),
      context.cost!.queries,
    ]);
    expect(result).toEqual(bare);
    expect(counted).toBeGreaterThan(0);
  });
});

describe('the instrumentation of DynamoDB', () => {
  const countOf = (test: TestApp): Promise<number | undefined> => {
    const context = test.app.get(ContextService);
    return context.run({}, async () => {
      await client.send(scan(orders));
      return context.cost?.queries;
    });
  };

  it('is there while an application runs, and gone after the last of two', async () => {
    const [one, two] = [await start(), await start()];
    expect(facts()).not.toEqual(bareFacts);
    expect([await countOf(one), await countOf(two)]).toEqual([1, 1]);
    await one.close();
    expect(await countOf(two)).toBe(1);
    await two.close();
    opened = [];
    expect(facts()).toEqual(bareFacts);
    expect((await client.send(scan(orders))).Count).toBe(3);
  });

  it('counts once where somebody else has wrapped it, before it and after it', async () => {
    const { prototype } = SmithyClient;
    let theirs = 0;
    const wrap = (inner: Send): Send =>
      function (this: unknown, ...args) {
        theirs += 1;
        return inner.apply(this, args);
      };
    prototype.send = wrap(prototype.send);
    const test = await start();
    expect(await countOf(test)).toBe(1);
    const { send: ours } = prototype;
    prototype.send = wrap(ours);
    expect(await countOf(test)).toBe(1);
    expect(theirs).toBe(3);
    prototype.send = ours;
    await test.close();
    opened = [];
    Object.defineProperty(prototype, 'send', bareFacts['send']!);
    expect(facts()).toEqual(bareFacts);
  });

  it('leaves the other clients of the SDK to outbound HTTP', async () => {
    const context = (await start()).app.get(ContextService);
    const other = new SmithyClient({ serviceId: 'S3' });
    const command = {
      input: { TableName: orders },
      resolveMiddleware: () => async () => ({
        output: await (await fetch(server.url, { method: 'POST', body: '{}' })).text(),
      }),
    };
    const counted = await context.run({}, async () => {
      await other.send(command);
      return [context.cost?.queries, context.cost?.http];
    });
    expect(counted).toEqual([0, 1]);
  });

  it('gives the error of a budget that is exceeded as the SDK gives its own, and sends nothing', async () => {
    const test = await start({ budget: 1, onExceeded: 'throw' });
    const before = server.asked();
    await test.app.get(ContextService).run({ handler: 'Probe.run' }, async () => {
      await client.send(scan(orders));
      await expect(client.send(scan(orders))).rejects.toMatchObject({ name: 'QueryBudgetExceededError' });
      const [, isSync, result, , error] = await called(callback => client.send(scan(orders), callback));
      expect([isSync, result, error]).toEqual([false, undefined, 'QueryBudgetExceededError']);
    });
    expect(server.asked() - before).toBe(1);
  });

  it('charges the commands in flight to their own requests when the server goes away', async () => {
    const test = await start();
    const context = test.app.get(ContextService);
    const other = await startDynamodb();
    const lost = connect(other.url);
    const work = Array.from({ length: 10 }, (_, n) =>
      context.run({ requestId: `lost-${n}` }, () =>
        Promise.allSettled(Array.from({ length: n }, () => lost.send(scan('slow-a')))),
      ),
    );
    setTimeout(() => void other.close(), 30);
    await Promise.all(work);
    for (const { requestId, queries } of await test.records(10)) {
      const calls = Number(requestId.slice('lost-'.length));
      expect([requestId, queries.count, queries.errors]).toEqual([requestId, calls, calls]);
    }
    lost.destroy();
  });

  it('counts a document client, which wraps the commands of the client', async () => {
    const context = (await start()).app.get(ContextService);
    // As @aws-sdk/lib-dynamodb is made: a client of its own with the configuration of the other.
    class DocumentClient extends (SmithyClient as unknown as typeof DynamoDBClient) {
      constructor(inner: DynamoDBClient) {
        super(inner.config as never);
        Object.assign(this, { config: inner.config, middlewareStack: inner.middlewareStack });
      }
    }
    class ScanDocumentsCommand {
      readonly input = { TableName: orders };
      resolveMiddleware(...args: Parameters<ScanCommand['resolveMiddleware']>) {
        return new ScanCommand(this.input).resolveMiddleware(...args);
      }
    }
    Object.defineProperty(ScanDocumentsCommand, 'name', { value: 'ScanCommand' });
    const documents = new DocumentClient(client);
    const counted = await context.run({}, async () => {
      const handler = (await documents.send(new ScanDocumentsCommand() as never)) as { Count?: number };
      return [handler.Count, context.cost?.queries, context.cost?.rows, context.cost?.http];
    });
    expect(counted).toEqual([3, 1, 3, 0]);
  });
});
