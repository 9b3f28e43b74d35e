/**
 * `node bench/micro-subject.mjs` with an IPC channel: answers each question with the CPU nanoseconds
 * that one read of the context, or one query, took within one request.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Client } from 'pg';
import { median } from './statistics.mjs';
import { connectStub, STATEMENT } from './stub-pg.mjs';
import { importLibrary, UnavailableError } from './variants.mjs';

/** Queries in one block: 2 ms, long for the clock and short for the garbage collector. */
const BLOCK = 500;

/** The library with its pg instrumentation. `inRequest` runs a function in the handler of a real request. */
async function startApplication() {
  const { AsyncContextModule, ContextService } = await importLibrary();
  const { Controller, Get, Module } = await import('@nestjs/common');
  const { NestFactory } = await import('@nestjs/core');
  let work;
  let onRecord;

  class WorkController {
    handle() {
      return work();
    }
  }
  Controller()(WorkController);
  const descriptor = Object.getOwnPropertyDescriptor(WorkController.prototype, 'handle');
  Get()(WorkController.prototype, 'handle', descriptor);

  // oxlint-disable-next-line typescript/no-extraneous-class -- a module is what its decorator says
  class AppModule {}
  const sink = { name: 'bench', write: records => onRecord(records.at(-1)) };
  Module({
    imports: [
      AsyncContextModule.forRoot({
        budget: { queries: 1_000_000 },
        sinks: [sink],
        sinkQueue: { batchSize: 1, intervalMs: 20 },
      }),
    ],
    controllers: [WorkController],
  })(AppModule);

  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address();
  const context = app.get(ContextService, { strict: false });
  return {
    context,
    inRequest: async fn => {
      let result;
      work = async () => {
        result = await fn();
      };
      const record = new Promise(resolve => {
        onRecord = resolve;
      });
      const response = await fetch(`http://127.0.0.1:${port}/`);
      if (!response.ok) throw new Error(`the unit of work failed: ${response.status}`);
      const { queries } = await record;
      return {
        ...result,
        counted: queries.count,
        recordBytes: Buffer.byteLength(JSON.stringify(await record)),
      };
    },
  };
}

/** CPU nanoseconds of this process since `startedAt`, per operation: other processes do not disturb it. */
function nanosSince(startedAt, times) {
  const { user, system } = process.cpuUsage(startedAt);
  return { nanos: ((user + system) * 1000) / times };
}

function measureReads(read, times) {
  let found = 0;
  const startedAt = process.cpuUsage();
  for (let i = 0; i < times; i++) if (read() !== undefined) found++;
  const result = nanosSince(startedAt, times);
  if (found !== times) throw new Error(`the context was missing in ${times - found} of ${times} reads`);
  return result;
}

async function measureQueries(client, times, shapes) {
  const startedAt = process.cpuUsage();
  for (let i = 0; i < times; i++) {
    const statement =
      shapes === 1 ? STATEMENT : `SELECT id, name, total FROM orders_${i} WHERE customer_id = $1`;
    await client.query(statement, [i]);
  }
  return nanosSince(startedAt, times);
}

/** Counted and not, in short blocks that take turns within one request. */
async function measureCounting(bareDriver, driver, times) {
  const blocks = { uncounted: [], counted: [], added: [] };
  for (let left = times; left > 0; left -= BLOCK) {
    const uncounted = await measureQueries(bareDriver, BLOCK, 1);
    const counted = await measureQueries(driver, BLOCK, 1);
    blocks.uncounted.push(uncounted.nanos);
    blocks.counted.push(counted.nanos);
    blocks.added.push(counted.nanos - uncounted.nanos);
  }
  return {
    uncounted: median(blocks.uncounted),
    nanos: median(blocks.counted),
    added: median(blocks.added),
  };
}

/** A client that keeps the driver's own `query`, whatever is done to the prototype later. */
async function connectBareDriver() {
  const client = await connectStub();
  return Object.defineProperty(client, 'query', { value: Client.prototype.query });
}

process.on('disconnect', () => process.exit());

try {
  const bareDriver = await connectBareDriver();
  const { context, inRequest } = await startApplication();
  const driver = await connectStub();
  const storage = new AsyncLocalStorage();
  const measures = {
    getStore: times => storage.run({}, () => measureReads(() => storage.getStore(), times)),
    requestId: times => measureReads(() => context.requestId, times),
    counting: times => measureCounting(bareDriver, driver, times),
    uncounted: (times, shapes) => measureQueries(bareDriver, times, shapes),
    counted: (times, shapes) => measureQueries(driver, times, shapes),
  };
  process.on('message', async ({ measure, times, shapes }) => {
    try {
      const result = await inRequest(() => measures[measure](times, shapes));
      const expected = measure === 'counting' || measure === 'counted' ? times : 0;
      if (result.counted !== expected) throw new Error(`${result.counted} queries counted, not ${expected}`);
      process.send(result);
    } catch (error) {
      process.send({ error: error.message });
    }
  });
  process.send({ ready: true });
} catch (error) {
  if (!(error instanceof UnavailableError)) throw error;
  process.send({ unavailable: error.message });
}
