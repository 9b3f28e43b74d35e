// One of three services, as a process of its own: HTTP → NATS → a job of BullMQ → HTTP.
import 'reflect-metadata';
import { BullModule, InjectQueue, Processor, WorkerHost } from '@nestjs/bullmq';
import { Controller, Get, Inject, Injectable, Module, Param, Post, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientProxy,
  ClientsModule,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import type { Job, Queue } from 'bullmq';
import type { AddressInfo } from 'node:net';
import { Pool } from 'pg';
import { firstValueFrom } from 'rxjs';
import {
  AsyncContextModule,
  ContextService,
  type CostRecord,
  type CostRecordSink,
  createContextKey,
  QueryBudget,
} from '../../lib/index';

/** What a test wants the process to be. */
export interface ServiceSettings {
  readonly role: 'shop' | 'billing' | 'mail';
  readonly database: string;
  readonly redis: { readonly host: string; readonly port: number };
  readonly nats: string;
  /** Tells one run of the tests from another: part of the pattern and of the name of the queue. */
  readonly run: string;
  /** Where the shop is; for the mail. */
  readonly shop?: string;
}

/** What a handler saw of its context. */
export interface Seen {
  readonly handler: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly tenant: string | undefined;
  readonly user: unknown;
}

/** What it prints, a line each. */
export type Said =
  | { readonly url: string }
  | { readonly seen: Seen }
  | { readonly log: string }
  | { readonly record: CostRecord };

const settings = JSON.parse(process.argv[2] ?? '{}') as ServiceSettings;
const say = (said: Said): void => void process.stdout.write(`${JSON.stringify(said)}\n`);
const TENANT = createContextKey<string>('tenant', { carry: true });
const SECRET = 'a secret that the three services share';

const PATTERN = `invoice-${settings.run}`;
const QUEUE = `mail-${settings.run}`;
const pool = new Pool({ connectionString: settings.database, max: 2 });

@Injectable()
class Database {
  constructor(private readonly context: ContextService) {}

  /** Makes as many queries, one after the other, and says who asked. */
  async queries(count: number): Promise<void> {
    const { handler, requestId, traceId, spanId, user } = this.context;
    say({
      seen: {
        handler: handler!,
        requestId: requestId!,
        traceId: traceId!,
        spanId: spanId!,
        tenant: this.context.get(TENANT),
        user,
      },
    });
    for (let i = 0; i < count; i++) await pool.query('SELECT $1::int AS n', [i]);
  }
}

@Controller()
class ShopController {
  constructor(
    private readonly context: ContextService,
    private readonly database: Database,
    @Inject('BILLING') private readonly billing: ClientProxy,
  ) {}

  @Post('orders/:id')
  async order(@Param('id') id: string): Promise<unknown> {
    this.context.set(TENANT, 'acme');
    this.context.setUser({ id: 'ada' } as never);
    await this.database.queries(2);
    return firstValueFrom(this.billing.send(PATTERN, { id }));
  }

  @Get('receipts/:id')
  async receipt(@Param('id') id: string): Promise<string> {
    await this.database.queries(4);
    return id;
  }
}

@Controller()
class BillingController {
  constructor(
    private readonly database: Database,
    @InjectQueue(QUEUE) private readonly queue: Queue,
  ) {}

  @MessagePattern(PATTERN)
  async invoice(@Payload() data: { id: string }): Promise<unknown> {
    await this.database.queries(3);
    await this.queue.add('send', data, { removeOnComplete: true, removeOnFail: true });
    return { invoiced: data };
  }
}

@Processor(QUEUE)
class MailProcessor extends WorkerHost {
  constructor(private readonly database: Database) {
    super();
  }

  @QueryBudget({ queries: 10, remoteQueries: 3 })
  async process(job: Job<{ id: string }>): Promise<void> {
    await this.database.queries(1);
    await (await fetch(`${settings.shop!}/receipts/${job.data.id}`)).text();
  }
}

const sink: CostRecordSink = {
  name: 'stdout',
  write: records => records.forEach(record => say({ record })),
};
const context = AsyncContextModule.forRoot({
  sinks: [sink],
  sinkQueue: { intervalMs: 20 },
  carrierSecret: SECRET,
  serverTiming: true,
  propagate: {
    messages: true,
    ...(settings.shop !== undefined && { hosts: [new URL(settings.shop).host] }),
  },
});

const billing = ClientsModule.register([
  { name: 'BILLING', transport: Transport.NATS, options: { servers: [settings.nats] } },
]);
const queue = [BullModule.forRoot({ connection: settings.redis }), BullModule.registerQueue({ name: QUEUE })];
const parts = {
  shop: { imports: [billing], controllers: [ShopController] as Type[], providers: [] as Type[] },
  billing: { imports: queue, controllers: [BillingController] as Type[], providers: [] as Type[] },
  mail: { imports: queue, controllers: [] as Type[], providers: [MailProcessor] as Type[] },
};
const { imports, controllers, providers } = parts[settings.role];

@Module({ imports: [context, ...imports], controllers, providers: [Database, ...providers] })
class ServiceModule {}

async function main(): Promise<void> {
  const logger = {
    log: () => undefined,
    warn: (message: unknown) => say({ log: String(message) }),
    error: (message: unknown) => say({ log: String(message) }),
  };
  if (settings.role === 'billing') {
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServiceModule, {
      logger,
      transport: Transport.NATS,
      options: { servers: [settings.nats] },
    });
    await app.listen();
    say({ url: settings.nats });
    return;
  }
  const app = await NestFactory.create(ServiceModule, { logger });
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  say({ url: `http://127.0.0.1:${port}` });
}

void main();
