import { type CanActivate, Controller, Injectable, Module, type Type, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, type MicroserviceOptions, Payload } from '@nestjs/microservices';
import { interval, map, type Observable, take } from 'rxjs';
import { z } from 'zod';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  type CostRecord,
  createContextKey,
  MemorySink,
} from 'nestjs-async-context';
import { named } from './message-transports';
import { LogLines, until } from './platforms';

export const TENANT = createContextKey('tenant', { carry: true, schema: z.string().max(50) });

/** What a handler finds of who has sent the message. */
export interface Seen {
  readonly by: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly tenant: string | undefined;
  readonly user: unknown;
  /** What the guard found, which runs before. */
  readonly guarded: string | undefined;
  readonly data: unknown;
  /** What Nest's context of the message has, as text. */
  readonly headers?: unknown;
}

@Injectable()
export class TenantGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(): boolean {
    this.context.set('guarded', this.context.get(TENANT));
    return true;
  }
}

@Injectable()
export class Eye {
  readonly events: Seen[] = [];
  constructor(private readonly context: ContextService) {}

  see(by: string, data: unknown): Seen {
    const { context } = this;
    const { requestId, traceId, user } = context;
    const [tenant, guarded] = [context.get(TENANT), context.get<string>('guarded')];
    return { by, requestId: requestId!, traceId: traceId!, tenant, user, guarded, data };
  }
}

@Controller()
@UseGuards(TenantGuard)
class EchoController {
  constructor(private readonly eye: Eye) {}

  @MessagePattern(named('echo'))
  async echo(@Payload() data: unknown): Promise<Seen> {
    await new Promise(resolve => setTimeout(resolve, Math.random() * 10));
    return this.eye.see('echo', data);
  }

  @MessagePattern(named('stream'))
  stream(@Payload() data: unknown): Observable<Seen> {
    return interval(1).pipe(
      take(3),
      map(() => this.eye.see('stream', data)),
    );
  }

  @MessagePattern(named('headers'))
  headers(@Payload() data: unknown, @Ctx() context: unknown): Seen {
    return { ...this.eye.see('headers', data), headers: headersOf(context) };
  }

  @EventPattern(named('happened'))
  first(@Payload() data: unknown): void {
    this.eye.events.push(this.eye.see('first', data));
  }

  @EventPattern(named('happened'))
  second(@Payload() data: unknown): void {
    this.eye.events.push(this.eye.see('second', data));
  }
}

interface AnyContext {
  getMetadata?(): unknown;
  getHeaders?(): Iterable<[string, string[]]> | undefined;
  getPacket?(): { properties?: object };
  getMessage?(): { properties?: { headers?: object }; headers?: object };
}

function headersOf(context: unknown): unknown {
  const rpc = context as AnyContext;
  if (rpc.getMetadata) return rpc.getMetadata();
  if (rpc.getHeaders) {
    return Object.fromEntries([...(rpc.getHeaders() ?? [])].map(([name, [value]]) => [name, value]));
  }
  return rpc.getPacket?.().properties ?? rpc.getMessage?.().properties?.headers ?? rpc.getMessage?.().headers;
}

export interface Receiver {
  readonly eye: Eye;
  readonly sink: MemorySink;
  readonly logs: LogLines;
  recordOf(seen: Seen): Promise<CostRecord>;
  close(): Promise<unknown>;
}

/** A service that receives messages, alone or beside HTTP. */
export async function startReceiver(
  transport: MicroserviceOptions,
  options: AsyncContextOptions & { readonly hybrid?: boolean; readonly controllers?: Type[] } = {},
): Promise<Receiver> {
  const { hybrid = false, controllers = [EchoController], ...context } = options;
  const sink = new MemorySink({ capacity: 10_000 });
  const logs = new LogLines();

  @Module({
    imports: [
      AsyncContextModule.forRoot({
        propagate: { messages: true },
        ...context,
        sinks: [sink],
        sinkQueue: { intervalMs: 10, capacity: 10_000 },
      }),
    ],
    controllers,
    providers: [Eye],
  })
  class ReceiverModule {}

  const app = hybrid
    ? await NestFactory.create(ReceiverModule, { logger: logs, abortOnError: false })
    : await NestFactory.createMicroservice<MicroserviceOptions>(ReceiverModule, {
        ...transport,
        logger: logs,
        abortOnError: false,
      } as never);
  if ('connectMicroservice' in app) {
    app.connectMicroservice(transport);
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
  } else await app.listen();
  return {
    eye: app.get(Eye),
    sink,
    logs,
    recordOf: ({ requestId }) =>
      until(() => sink.records.find(record => record.requestId === requestId), `record of ${requestId}`),
    close: () => app.close(),
  };
}
