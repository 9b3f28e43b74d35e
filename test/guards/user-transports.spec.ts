import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  type CanActivate,
  Controller,
  type DynamicModule,
  type ExecutionContext,
  Injectable,
  UseGuards,
} from '@nestjs/common';
import { Args, GraphQLModule, Query, Resolver } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { lastValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { ContextService, type ContextUser, RequireUser } from 'nestjs-async-context';
import { WebSocket } from 'ws';
import { type Platform, startApp } from '../support/platforms';
import { freePort } from '../support/servers';

/** What a caller says that it is, wherever its transport has the data. */
@Injectable()
class ClaimGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(execution: ExecutionContext): boolean {
    const args = execution.getArgs<unknown[]>();
    const claim = args.map(arg => (arg as { as?: string } | undefined)?.as).find(as => as !== undefined);
    if (claim !== undefined) this.context.setUser({ id: claim } as ContextUser);
    return true;
  }
}

const isAnn = (user: ContextUser): boolean => (user as { id: string }).id === 'ann';

@Controller()
class MathController {
  @MessagePattern('double')
  @RequireUser(isAnn)
  @UseGuards(ClaimGuard)
  double(@Payload() { value }: { value: number }) {
    return value * 2;
  }
}

@WebSocketGateway()
class MathGateway {
  @SubscribeMessage('double')
  @RequireUser(isAnn)
  @UseGuards(ClaimGuard)
  double(@MessageBody() { value }: { value: number }) {
    return { event: 'double', data: value * 2 };
  }
}

@Resolver()
class MathResolver {
  @Query(() => String, { nullable: true })
  @RequireUser(isAnn)
  @UseGuards(ClaimGuard)
  double(@Args('value') value: string, @Args('as', { nullable: true }) _as?: string) {
    return value + value;
  }
}

const graphql: [string, Platform, () => DynamicModule][] = [
  [
    'Apollo on Express',
    'express',
    () => GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
  ],
  [
    'Mercurius on Fastify',
    'fastify',
    () => GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true }),
  ],
];

describe('@RequireUser()', () => {
  it.each(graphql)('refuses an operation in the words of GraphQL: %s', async (_name, platform, module) => {
    const test = await startApp({ platform, imports: [module()], providers: [MathResolver] });
    const ask = async (args: string) => {
      const response = await fetch(`${test.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query: `{ double(${args}) }` }),
      });
      return (await response.json()) as {
        data: unknown;
        errors?: { message: string; extensions: { code: string } }[];
      };
    };
    expect(await ask('value: "2", as: "ann"')).toEqual({ data: { double: '22' } });
    const nobody = await ask('value: "2"');
    expect(nobody.data).toEqual({ double: null });
    expect(nobody.errors?.[0]?.message).toBe('Unauthorized');
    expect(nobody.errors?.[0]?.extensions).toMatchObject({ code: 'UNAUTHENTICATED', reason: 'no-user' });
    const bob = await ask('value: "2", as: "bob"');
    expect(bob.errors?.[0]?.message).toBe('Forbidden');
    expect(bob.errors?.[0]?.extensions.code).toBe('FORBIDDEN');
    const records = await test.records(3);
    expect(records.map(({ refused }) => refused?.reason)).toEqual([undefined, 'no-user', 'not-allowed']);
    await test.close();
  });

  it('refuses a message in the words of microservices', async () => {
    const port = await freePort();
    const test = await startApp({
      controllers: [MathController],
      configure: async app => {
        app.connectMicroservice<MicroserviceOptions>({
          transport: Transport.TCP,
          options: { host: '127.0.0.1', port },
        });
        await app.startAllMicroservices();
      },
    });
    const client = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port },
    });
    const ask = (data: object): Promise<unknown> => lastValueFrom(client.send('double', data));
    expect(await ask({ value: 2, as: 'ann' })).toBe(4);
    await expect(ask({ value: 2 })).rejects.toEqual({
      status: 'error',
      statusCode: 401,
      code: 16,
      message: 'Unauthorized',
      reason: 'no-user',
    });
    await expect(ask({ value: 2, as: 'bob' })).rejects.toMatchObject({ statusCode: 403, code: 7 });
    client.close();
    await test.close();
  });

  // Nest 11 sends no exception to a client of ws, whoever throws it.
  it.skipIf(process.env['NEST'] === '11')('refuses a message in the words of WebSockets', async () => {
    const test = await startApp({
      providers: [MathGateway],
      configure: app => void app.useWebSocketAdapter(new WsAdapter(app)),
    });
    const socket = new WebSocket(test.url.replace('http', 'ws'));
    await new Promise(resolve => socket.once('open', resolve));
    const ask = (data: object): Promise<unknown> =>
      new Promise(resolve => {
        socket.once('message', answer => resolve(JSON.parse(String(answer))));
        socket.send(JSON.stringify({ event: 'double', data }));
      });
    expect(await ask({ value: 2, as: 'ann' })).toEqual({ event: 'double', data: 4 });
    expect(await ask({ value: 2 })).toMatchObject({
      event: 'exception',
      data: { status: 'error', statusCode: 401, message: 'Unauthorized', reason: 'no-user' },
    });
    expect(await ask({ value: 2, as: 'bob' })).toMatchObject({ data: { statusCode: 403 } });
    socket.close();
    await test.close();
  });
});
