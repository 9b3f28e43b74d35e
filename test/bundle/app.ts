/** An application that a bundler puts into one file with all its packages: `bundle.spec.ts` does and runs it. */
import 'reflect-metadata';
import { Controller, Get, Inject, Module, NotFoundException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type ClientProxy, ClientsModule, MessagePattern, Transport } from '@nestjs/microservices';
import * as nestjsAsyncContext from 'nestjs-async-context';
import * as pg from 'pg';
import { firstValueFrom } from 'rxjs';

const { AsyncContextModule, ContextService, MemorySink, pgInstrumentation, QueryBudget } = nestjsAsyncContext;

const settings = JSON.parse(process.env['SETTINGS'] ?? '{}') as {
  database: string;
  port: number;
  isGiven: boolean;
};
const pool = new pg.Pool({ connectionString: settings.database, max: 1 });
const sink = new MemorySink();
const client = { transport: Transport.TCP, options: { host: '127.0.0.1', port: settings.port } } as const;

@Controller()
class ShopController {
  constructor(
    @Inject(ContextService) private readonly context: nestjsAsyncContext.ContextService,
    @Inject('STOCK') private readonly stock: ClientProxy,
  ) {}

  @Get('orders')
  @QueryBudget(1)
  async orders(): Promise<string | undefined> {
    for (let id = 0; id < 6; id++) await pool.query('SELECT $1::int', [id]);
    return this.context.requestId;
  }

  @Get('missing')
  missing(): never {
    throw new NotFoundException();
  }

  @Get('stock')
  async ask(): Promise<unknown> {
    return firstValueFrom(this.stock.send('stock.of', {}));
  }

  @MessagePattern('stock.of')
  stockOf(): { kind: string | undefined } {
    return { kind: this.context.kind };
  }
}

@Module({
  imports: [
    AsyncContextModule.forRoot({
      stallMs: 0,
      sinks: [sink],
      sinkQueue: { intervalMs: 10 },
      ...(settings.isGiven && { instrumentations: [pgInstrumentation(pg)] }),
    }),
    ClientsModule.register([{ name: 'STOCK', ...client }]),
  ],
  controllers: [ShopController],
})
class AppModule {}

async function main(): Promise<void> {
  const warnings: string[] = [];
  const keep = (text: unknown): void => void warnings.push(String(text));
  const logger = { log: () => undefined, error: () => undefined, warn: keep };
  const app = await NestFactory.create(AppModule, { logger, abortOnError: false });
  app.connectMicroservice(client);
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  const answers: string[] = [];
  for (const path of ['orders', 'missing', 'stock']) {
    answers.push(await (await fetch(`${await app.getUrl()}/${path}`)).text());
  }
  await app.close();
  await pool.end();
  console.log(JSON.stringify({ answers, warnings, records: sink.records }));
}

void main();
