import 'reflect-metadata';
import { Controller, Get, type LoggerService, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { AsyncContextModule, QueryBudget } from '../../../lib';

export interface ModuleCheckSettings {
  readonly platform: 'express' | 'fastify';
  readonly withModule: boolean;
}

const { platform, withModule } = JSON.parse(process.argv[2]!) as ModuleCheckSettings;
// In tests nothing is watched.
delete process.env['NODE_ENV'];

const warnings: string[] = [];
const logger: LoggerService = {
  log: () => undefined,
  error: () => undefined,
  warn: (message: unknown) => warnings.push(String(message)),
};

@Controller('orders')
class OrdersController {
  @Get()
  @QueryBudget(20)
  list(): string {
    return 'orders';
  }
}

@Module({ imports: withModule ? [AsyncContextModule.forRoot()] : [], controllers: [OrdersController] })
class AppModule {}

/** Prints what was warned of by three requests. */
async function run(): Promise<void> {
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter as never, { logger });
  await app.listen(0, '127.0.0.1');
  for (let i = 0; i < 3; i += 1) await (await fetch(`${await app.getUrl()}/orders`)).text();
  await app.close();
  console.log(JSON.stringify(warnings));
}

void run();
