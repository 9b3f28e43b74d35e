/**
 * `node bench/ledger-subject.mjs '<settings>'` with an IPC channel: one of several processes that share the buckets
 * of `@CostLimit()`. It answers `books` with what each admitted request was charged before it ran and has cost.
 */
import { setImmediate } from 'node:timers/promises';
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Query,
  UnauthorizedException,
  UseGuards,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  AsyncContextModule,
  ContextService,
  CostLimit,
  ProcessFigures,
  QueryBudget,
} from 'nestjs-async-context';
import { Books } from './ledger-books.mjs';
import { openStore } from './ledger-stores.mjs';
import { connectStub, STATEMENT } from './stub-pg.mjs';

const { store: where, plan, hard, onStoreFailure, timeoutMs } = JSON.parse(process.argv[2]);
const RECORDED = { system: 'postgresql', statement: STATEMENT, rows: 3, durationMs: 0.5 };
/** After so many queries others have their turn. */
const STRETCH = 25;

const clients = await Promise.all(Array.from({ length: 16 }, connectStub));
let turn = 0;

class UserGuard {
  canActivate(execution) {
    const request = execution.switchToHttp().getRequest();
    const id = request.headers['x-user'];
    if (id === undefined) throw new UnauthorizedException();
    request.user = { id };
    return true;
  }
}
Injectable()(UserGuard);

class WorkController {
  constructor(context) {
    this.context = context;
  }

  /** Queries of a driver, which hard limits stop. */
  async query(count) {
    const client = clients[(turn += 1) % clients.length];
    for (let i = 1; i <= Number(count); i++) {
      await client.query(STATEMENT, [i]);
      if (i % STRETCH === 0) await setImmediate();
    }
    return { count };
  }

  one() {
    return this.query(1);
  }

  async some(count) {
    await setImmediate();
    for (let i = 0; i < Number(count); i++) this.context.record(RECORDED);
    return { count };
  }

  many(count) {
    return this.query(count);
  }
}
Inject(ContextService)(WorkController, undefined, 0);
for (const name of ['one', 'some', 'many']) {
  const descriptor = Object.getOwnPropertyDescriptor(WorkController.prototype, name);
  Get(name)(WorkController.prototype, name, descriptor);
  Query('count')(WorkController.prototype, name, 0);
}
Controller()(WorkController);
UseGuards(UserGuard)(WorkController);
CostLimit({ ...plan, by: 'user' })(WorkController);
if (hard) QueryBudget({ hard })(WorkController);

const { store, close } = await openStore(where);
const books = new Books(store);

// oxlint-disable-next-line typescript/no-extraneous-class -- a module is what its decorator says
class AppModule {}
Module({
  imports: [
    AsyncContextModule.forRoot({
      sinks: [books],
      sinkQueue: { capacity: 100_000, batchSize: 2_000, intervalMs: 500 },
      guards: { breaker: false, costLimit: { store: books.store, onStoreFailure, timeoutMs } },
    }),
  ],
  controllers: [WorkController],
})(AppModule);

const lines = [];
const say = (...words) => lines.push(words.map(String).join(' '));
const ignore = () => undefined;
const app = await NestFactory.create(AppModule, new FastifyAdapter(), {
  logger: { log: ignore, debug: ignore, verbose: ignore, warn: say, error: say, fatal: say },
});
await app.listen(0, '127.0.0.1');
const context = app.get(ContextService, { strict: false });
books.context = context;

process.on('disconnect', () => process.exit());
process.on('message', async () => {
  await context.flush();
  process.send({ ...books.summary(), refusals: app.get(ProcessFigures, { strict: false }).refusals, lines });
  await app.close();
  await close();
});
process.send({ port: app.getHttpServer().address().port });
