import { type CanActivate, Controller, Injectable, Module, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  RpcException,
  Transport,
  type ClientProxy,
} from '@nestjs/microservices';
import { firstValueFrom, interval, lastValueFrom, map, type Observable, take, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextModule, ContextService, MemorySink, QueryBudget } from 'nestjs-async-context';
import { LogLines, until } from '../support/platforms';
import { freePort, isReachable } from '../support/servers';

/** What each guard and each event saw. */
const seen: (string | undefined)[] = [];

@Injectable()
class SeeingGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(): boolean {
    seen.push(this.context.requestId);
    this.context.set('guarded', true);
    return true;
  }
}

@Injectable()
class RefusingGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Controller()
@UseGuards(SeeingGuard)
class MathController {
  constructor(private readonly context: ContextService) {}

  @MessagePattern('id')
  @QueryBudget(3)
  async id(@Payload() pause: number) {
    await new Promise(resolve => setTimeout(resolve, pause));
    const { requestId, kind, handler, route } = this.context;
    for (let i = 0; i < 5; i++) this.context.record({ system: 'test', collection: 'orders', durationMs: 0 });
    return { requestId, kind, handler, route, guarded: this.context.get('guarded') };
  }

  @MessagePattern('stream')
  stream(): Observable<string | undefined> {
    return interval(1).pipe(
      take(3),
      map(() => this.context.requestId),
    );
  }

  @MessagePattern('fails')
  fails(): never {
    throw new RpcException('no');
  }

  @MessagePattern('refused')
  @UseGuards(RefusingGuard)
  refused(): string {
    return 'never';
  }

  @EventPattern('happened')
  first(@Payload() _data: unknown): void {
    seen.push(`first ${this.context.requestId}`);
  }

  @EventPattern('happened')
  second(@Payload() _data: unknown): void {
    seen.push(`second ${this.context.requestId}`);
  }
}

type Kind = 'pure microservice' | 'hybrid' | 'hybrid that inherits the configuration';
const kinds: Kind[] = ['pure microservice', 'hybrid', 'hybrid that inherits the configuration'];
const redisRuns = await isReachable(6379);

const transports: [string, () => Promise<MicroserviceOptions>, boolean][] = [
  [
    'TCP',
    async () => ({ transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } }),
    true,
  ],
  [
    'Redis',
    async () => ({ transport: Transport.REDIS, options: { host: '127.0.0.1', port: 6379 } }),
    redisRuns,
  ],
];

describe.each(transports)('messages over %s', (_transport, optionsOf, isUp) => {
  const name = isUp
    ? ''
    : ' (skipped: start a Redis on 127.0.0.1:6379, e.g. `redis-server --bind 127.0.0.1`)';

  describe.skipIf(!isUp && !process.env['CI']).each(kinds)(`to a %s${name}`, kind => {
    const sink = new MemorySink();
    const logs = new LogLines();
    let close: () => Promise<unknown>;
    let client: ClientProxy;

    @Module({
      imports: [AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 10 } })],
      controllers: [MathController],
    })
    class AppModule {}

    beforeAll(async () => {
      const options = await optionsOf();
      if (kind === 'pure microservice') {
        const service = await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, {
          ...options,
          logger: logs,
        } as never);
        await service.listen();
        close = () => service.close();
      } else {
        const app = await NestFactory.create(AppModule, { logger: logs });
        app.connectMicroservice(options, { inheritAppConfig: kind.includes('inherits') });
        await app.startAllMicroservices();
        await app.listen(0, '127.0.0.1');
        close = () => app.close();
      }
      client = ClientProxyFactory.create(options as never) as unknown as ClientProxy;
      await client.connect();
    });
    afterAll(async () => {
      await client?.close();
      await close?.();
    });

    it('gives each message a context of its own, which guard, handler and record share', async () => {
      seen.length = 0;
      sink.clear();
      const answers = await Promise.all([20, 1, 10].map(pause => firstValueFrom(client.send('id', pause))));
      expect(new Set(answers.map(answer => answer.requestId)).size).toBe(3);
      expect([...seen].sort()).toEqual(answers.map(answer => answer.requestId).sort());
      for (const answer of answers) {
        expect(answer).toMatchObject({
          kind: 'rpc',
          handler: 'MathController.id',
          route: 'id',
          guarded: true,
        });
      }
      await until(() => sink.records.length === 3, 'three records');
      expect(sink.records.map(record => record.requestId).sort()).toEqual([...seen].sort());
      expect(sink.records[0]).toMatchObject({
        kind: 'rpc',
        handler: 'MathController.id',
        queries: { count: 5 },
      });
      expect(sink.records[0]!.breaches).toMatchObject([
        { dimension: 'queries', from: '@QueryBudget on MathController.id' },
      ]);
    });

    it('keeps the context for a stream, and closes it when the stream ends', async () => {
      sink.clear();
      const ids = await lastValueFrom(client.send('stream', {}).pipe(toArray()));
      expect(ids).toHaveLength(3);
      expect(new Set(ids).size).toBe(1);
      await until(() => sink.records.length === 1, 'one record');
      expect(sink.records[0]).toMatchObject({ requestId: ids[0], handler: 'MathController.stream' });
    });

    it('records a handler that fails and a guard that refuses', async () => {
      sink.clear();
      await expect(lastValueFrom(client.send('fails', {}))).rejects.toBeDefined();
      await expect(lastValueFrom(client.send('refused', {}))).rejects.toBeDefined();
      await until(() => sink.records.length === 2, 'two records');
      expect(sink.records.map(({ route, error }) => [route, error])).toEqual([
        ['fails', 'RpcException'],
        ['refused', expect.any(String)],
      ]);
    });

    it('runs every handler of an event, as bare Nest does', async () => {
      seen.length = 0;
      client.emit('happened', {}).subscribe();
      await until(() => seen.length >= 4, 'both handlers');
      expect(seen.filter(line => line?.startsWith('first '))).toHaveLength(1);
      expect(seen.filter(line => line?.startsWith('second '))).toHaveLength(1);
      expect(seen).not.toContain(undefined);
    });
  });
});
