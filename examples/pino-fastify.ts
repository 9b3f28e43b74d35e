// nestjs-pino on Fastify: each line of a request has its id, its handler and a tenant; nothing is passed along.
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { AsyncContextModule, ContextService, createContextKey } from 'nestjs-async-context';
import { contextMixin } from 'nestjs-async-context/pino';
import { Logger, LoggerModule, PinoLogger } from 'nestjs-pino';

const TENANT = createContextKey<string>('tenant', { log: true });
const texts: string[] = [];
const stream = { write: (text: string) => process.stdout.write(text) && texts.push(text) };
const serializers = { req: ({ url }: { url: string }) => url, res: () => undefined };

@Controller('orders')
class OrdersController {
  constructor(
    private readonly context: ContextService,
    private readonly logger: PinoLogger,
  ) {}

  @Get()
  list(): string[] {
    this.context.set(TENANT, 'acme');
    this.logger.info('listing the orders');
    return [];
  }
}

@Module({
  imports: [
    AsyncContextModule.forRoot(),
    LoggerModule.forRoot({
      forRoutes: ['*path'], // without it the middleware of nestjs-pino sees no request on Fastify
      pinoHttp: [{ mixin: contextMixin(), serializers }, stream],
    }),
  ],
  controllers: [OrdersController],
})
class AppModule {}

async function main(): Promise<void> {
  const app = await NestFactory.create(AppModule, new FastifyAdapter(), { bufferLogs: true });
  app.useLogger(app.get(Logger));
  await app.listen(0);
  const { headers } = await fetch(`${await app.getUrl()}/orders`);
  await app.close();
  const id = headers.get('x-request-id');
  const count = texts.filter(
    text => text.includes(`"requestId":"${id}"`) && text.includes('"tenant":"acme"'),
  ).length;
  console.log(`${count} lines of request ${id} name the tenant`);
  process.exitCode = count === 2 ? 0 : 1;
}
void main();
