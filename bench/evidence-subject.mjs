/**
 * `node --expose-gc bench/evidence-subject.mjs on|off` with an IPC channel: answers each question with the CPU
 * nanoseconds that one unit of work took, with values compared or not; of an N+1 also how it was found.
 */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AsyncContextModule, ContextService, pgInstrumentation } from 'nestjs-async-context';
import { connectStub } from './stub-pg.mjs';

const app = await NestFactory.createApplicationContext(
  AsyncContextModule.forRoot({
    instrumentations: [pgInstrumentation()],
    findings: { compareValues: process.argv[2] === 'on' },
  }),
  { logger: false },
);
const context = app.get(ContextService);
const clients = new Map();
for (const rows of [1, 5, 20, 60]) clients.set(rows, await connectStub(rows));

const LIST = 'SELECT id, name, total FROM orders LIMIT 60';
const BY_ID = 'SELECT id, name, total FROM order_items WHERE order_id = $1';
const SHAPES = Array.from(
  { length: 8 },
  (_, i) => `SELECT id, name, total FROM table_${i} WHERE customer_id = $1`,
);

async function nPlusOne() {
  const { rows } = await clients.get(60).query(LIST);
  for (const { id } of rows) await clients.get(1).query(BY_ID, [id]);
}

/** The units of work by their names; `size` is the rows of a result, or the queries of a long one. */
const UNITS = {
  async shapes(size) {
    for (const shape of SHAPES) await clients.get(size).query(shape, [1]);
  },
  nPlusOne,
  async found(size) {
    for (let left = size; left > 0; left -= 61) await nPlusOne();
  },
  async notFound(size) {
    await clients.get(60).query(LIST);
    for (let i = 1; i < size; i++) await clients.get(1).query(BY_ID, [1_000 + i]);
  },
};

process.on('message', async ({ unit, size, times, heap }) => {
  let finding;
  let held;
  const before = heap ? (global.gc(), process.memoryUsage().heapUsed) : 0;
  const begin = process.cpuUsage();
  let used;
  for (let i = 0; i < times; i++) {
    await context.run({ handler: `Bench.${unit}` }, async () => {
      await UNITS[unit](size);
      if (i < times - 1) return;
      used = process.cpuUsage(begin);
      finding = context.cost.findings().find(({ kind }) => kind === 'n-plus-one')?.confidence;
      if (heap) held = (global.gc(), process.memoryUsage().heapUsed - before);
    });
  }
  process.send({ nanos: (1_000 * (used.user + used.system)) / times, finding, held });
});
process.on('disconnect', () => process.exit());
process.send({ ready: true });
