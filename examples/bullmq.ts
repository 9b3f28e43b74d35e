// A job has a context and a budget of its own, and knows the request that has added it.
import { BullModule, getQueueToken, InjectQueue, Processor, WorkerHost } from '@nestjs/bullmq';
import { Controller, Logger, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { AsyncContextModule, ContextLogger, MemorySink, QueryBudget } from 'nestjs-async-context';
import { once } from 'node:events';

const url = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';
const prefix = `example-${process.pid}`;
const redis = new Redis(url, { retryStrategy: null });
const sink = new MemorySink();
@Processor('mail')
class MailProcessor extends WorkerHost {
  @QueryBudget({ cache: 3 })
  async process(): Promise<void> {
    for (let line = 1; line <= 5; line++) await redis.get(`${prefix}:product:${line}`);
    new Logger('Mail').log('the receipt is sent');
  }
}
@Controller('orders')
class OrdersController {
  constructor(@InjectQueue('mail') private readonly mail: Queue) {}
  @Post()
  async pay(): Promise<void> {
    await this.mail.add('receipt', {});
  }
}
@Module({
  imports: [
    AsyncContextModule.forRoot({ sinks: [sink] }),
    BullModule.forRoot({ connection: { url }, prefix }),
    BullModule.registerQueue({ name: 'mail' }),
  ],
  controllers: [OrdersController],
  providers: [MailProcessor],
})
class AppModule {}

async function main(): Promise<void> {
  await once(redis, 'ready');
  const app = await NestFactory.create(AppModule, { logger: new ContextLogger({ short: true }) });
  await app.listen(0);
  const done = once(app.get(MailProcessor).worker, 'completed');
  await fetch(`${await app.getUrl()}/orders`, { method: 'POST' });
  await done;
  await app.get<Queue>(getQueueToken('mail')).obliterate({ force: true });
  await app.close();
  await redis.quit();
  const request = sink.records.find(({ kind }) => kind === 'http');
  const job = sink.records.find(({ kind }) => kind === 'job');
  console.log(`request ${request?.requestId} has added a job; the job comes from ${job?.parentRequestId}`);
  process.exitCode = job?.breaches.length === 1 && job.parentRequestId === request?.requestId ? 0 : 1;
}
main().catch((error: { code?: string }) => {
  if (error.code !== 'ECONNREFUSED') throw error;
  console.log('No Redis: docker run --rm -p 6379:6379 redis:7');
  process.exitCode = process.env['CI'] ? 1 : 0;
});
