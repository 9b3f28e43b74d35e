import 'reflect-metadata';
import { Controller, Get, Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

/** What `experimentalDecorators` would emit for one decorated method. */
function decorateMethod(target, method, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(target.prototype, method);
  for (const decorator of decorators) decorator(target.prototype, method, descriptor);
}

class OrdersService {
  /** The database client; not a provider, so that no variant wraps or proxies it. */
  static database;

  async find(id) {
    return id;
  }

  read(id) {
    return id;
  }

  async list(queries, statement) {
    let rows = 0;
    for (let i = 0; i < queries; i++) {
      const result = await OrdersService.database.query(statement, [i]);
      rows += result.rows.length;
    }
    return rows;
  }
}
Injectable()(OrdersService);

const HELLO = 'Hello World!';

class OrdersController {
  static statement;
  static evidence;
  static handle;

  constructor(orders) {
    this.orders = orders;
  }

  hello() {
    return HELLO;
  }

  async services() {
    let sum = 0;
    for (let i = 0; i < 10; i++) sum += await this.orders.find(i);
    return { sum };
  }

  /** One timer, which is what a request most often opens. */
  async timer() {
    await new Promise(resolve => setTimeout(resolve, 1));
    return HELLO;
  }

  /** Ten queries of a database that answers late. */
  async outage() {
    const rows = await this.orders.list(10, OrdersController.statement);
    await new Promise(resolve => setTimeout(resolve, 1));
    return { rows };
  }

  servicesSync() {
    let sum = 0;
    for (let i = 0; i < 10; i++) sum += this.orders.read(i);
    return { sum };
  }

  async queries10() {
    return { rows: await this.orders.list(10, OrdersController.statement) };
  }

  async queries100() {
    return { rows: await this.orders.list(100, OrdersController.statement) };
  }

  /** A handler that is given. */
  async given() {
    return OrdersController.handle();
  }

  /** What the variant can show for itself from inside a handler: the run fails if it is not what it claims. */
  async evidence() {
    await this.orders.find(1);
    await OrdersController.handle?.();
    if (OrdersService.database) await this.orders.list(1, OrdersController.statement);
    return OrdersController.evidence();
  }
}
Inject(OrdersService)(OrdersController, undefined, 0);
Controller()(OrdersController);
decorateMethod(OrdersController, 'hello', Get('hello'));
decorateMethod(OrdersController, 'services', Get('services'));
decorateMethod(OrdersController, 'timer', Get('timer'));
decorateMethod(OrdersController, 'outage', Get('outage'));
decorateMethod(OrdersController, 'servicesSync', Get('services-sync'));
decorateMethod(OrdersController, 'queries10', Get('queries10'));
decorateMethod(OrdersController, 'queries100', Get('queries100'));
decorateMethod(OrdersController, 'given', Get('given'));
decorateMethod(OrdersController, 'evidence', Get('evidence'));

async function createAdapter(platform) {
  if (platform === 'fastify') {
    const { FastifyAdapter } = await import('@nestjs/platform-fastify');
    return new FastifyAdapter();
  }
  const { ExpressAdapter } = await import('@nestjs/platform-express');
  return new ExpressAdapter();
}

/**
 * The application under test, listening on a free loopback port. It is the same for every variant but for
 * what the variant itself asks of a user: modules to import, options of `NestFactory.create`, a global hook.
 */
export async function listen({ platform, database, statement, handle, variant }) {
  OrdersService.database = database;
  OrdersController.statement = statement;
  OrdersController.handle = handle;

  // oxlint-disable-next-line typescript/no-extraneous-class -- a module is what its decorator says
  class AppModule {}
  Module({
    imports: variant.imports ?? [],
    controllers: [OrdersController],
    providers: [OrdersService],
  })(AppModule);

  const app = await NestFactory.create(AppModule, await createAdapter(platform), {
    logger: ['error', 'warn'],
    ...variant.createOptions,
  });
  variant.setUp?.(app);
  OrdersController.evidence = () => variant.evidence?.(app) ?? {};
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer().address().port;
}
