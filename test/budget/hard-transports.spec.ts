import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Controller, Injectable } from '@nestjs/common';
import { GraphQLModule, Int, Query, Resolver } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import {
  ClientProxyFactory,
  GrpcMethod,
  MessagePattern,
  RpcException,
  Transport,
  type ClientGrpcProxy,
} from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway, WsException } from '@nestjs/websockets';
import { Pool } from 'pg';
import { lastValueFrom, type Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { QueryBudget } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { freePort, protoPath } from '../support/message-transports';
import { startApp } from '../support/platforms';

let pool: Pool;
beforeAll(() => {
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
});
afterAll(() => pool.end());

/** As an ORM does. */
async function ask(times: number): Promise<number> {
  for (let i = 0; i < times; i++) {
    await pool.query('SELECT 1 FROM pg_class LIMIT 1').catch((error: unknown) => {
      throw new Error(`failed: ${String(error)}`);
    });
  }
  return times;
}

@Resolver()
class OrdersResolver {
  @Query(() => Int)
  @QueryBudget({ hard: { queries: 2 } })
  many() {
    return ask(3);
  }

  @Query(() => Int)
  @QueryBudget({ hard: { queries: 2 } })
  few() {
    return ask(2);
  }
}

const stacks = [
  ['Apollo', 'express', ApolloDriver],
  ['Mercurius', 'fastify', MercuriusDriver],
] as const;

describe.each(stacks)('a hard breach in GraphQL with %s', (_name, platform, driver) => {
  it('is an error without a word of the application', async () => {
    const test = await startApp({
      platform,
      imports: [
        GraphQLModule.forRoot<ApolloDriverConfig | MercuriusDriverConfig>({ driver, autoSchemaFile: true }),
      ],
      providers: [OrdersResolver],
    });
    const post = async (query: string): Promise<string> => {
      const response = await fetch(`${test.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query }),
      });
      return response.text();
    };
    expect(JSON.parse(await post('{ few }'))).toEqual({ data: { few: 2 } });
    const body = await post('{ many }');
    expect(JSON.parse(body)).toMatchObject({
      errors: [{ message: expect.stringContaining('was stopped') }],
    });
    expect(body).not.toMatch(/pg_class|SELECT|budget on|2\/2|3\/2/i);
    await test.close();
  });
});

@Controller()
class MessagesController {
  @MessagePattern('many')
  @QueryBudget({ hard: { queries: 2 } })
  many() {
    return ask(3);
  }

  @MessagePattern('meant')
  @QueryBudget({ hard: { queries: 2 } })
  async meant() {
    await ask(3).catch(() => {
      throw new RpcException('as the application says');
    });
  }

  @GrpcMethod('Echo', 'Ask')
  @QueryBudget({ hard: { queries: 2, status: 429 } })
  ask() {
    return ask(3);
  }
}

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a hard breach in a message', () => {
  it('is the error that a client of TCP expects', async () => {
    const port = await freePort();
    const options = { host: '127.0.0.1', port };
    const test = await startApp({
      controllers: [MessagesController],
      configure: async app => {
        app.connectMicroservice({ transport: Transport.TCP, options });
        await app.startAllMicroservices();
      },
    });
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    const send = (pattern: string): Promise<unknown> => failure(lastValueFrom(client.send(pattern, {})));
    const error = await send('many');
    expect(error).toMatchObject({
      status: 'error',
      statusCode: 503,
      reason: 'hard-budget',
      message: expect.stringContaining('was stopped'),
    });
    expect(JSON.stringify(error)).not.toMatch(/pg_class|SELECT/);
    expect(await send('meant')).toMatchObject({ message: 'as the application says' });
    client.close();
    await test.close();
  });

  it('has the code of gRPC', async () => {
    const options = { package: 'echo', protoPath, url: `127.0.0.1:${await freePort()}` };
    const test = await startApp({
      controllers: [MessagesController],
      configure: async app => {
        app.connectMicroservice({ transport: Transport.GRPC, options });
        await app.startAllMicroservices();
      },
    });
    const client = ClientProxyFactory.create({
      transport: Transport.GRPC,
      options,
    }) as unknown as ClientGrpcProxy;
    const echo = client.getService<{ ask(question: object): Observable<unknown> }>('Echo');
    const error = await failure(lastValueFrom(echo.ask({ text: 'many' })));
    expect(error).toMatchObject({ code: 8, details: expect.stringContaining('was stopped') });
    client.close();
    await test.close();
  });
});

@Injectable()
@WebSocketGateway()
class OrdersGateway {
  @SubscribeMessage('many')
  @QueryBudget({ hard: { queries: 2 } })
  many() {
    return ask(3);
  }

  @SubscribeMessage('meant')
  @QueryBudget({ hard: { queries: 2 } })
  async meant() {
    await ask(3).catch(() => {
      throw new WsException('as the application says');
    });
  }
}

// Nest 11 sends no exception to a client of ws, whoever throws it.
describe.skipIf(process.env['NEST'] === '11')('a hard breach in a WebSocket message', () => {
  it('is the exception that its client expects', async () => {
    const test = await startApp({
      providers: [OrdersGateway],
      configure: app => void app.useWebSocketAdapter(new WsAdapter(app)),
    });
    const socket = new WebSocket(test.url.replace('http', 'ws'));
    await new Promise(resolve => socket.once('open', resolve));
    const send = (event: string): Promise<string> =>
      new Promise(resolve => {
        socket.once('message', data => resolve(String(data)));
        socket.send(JSON.stringify({ event, data: {} }));
      });
    const answer = await send('many');
    expect(JSON.parse(answer)).toMatchObject({
      event: 'exception',
      data: { message: expect.stringContaining('was stopped') },
    });
    expect(answer).not.toMatch(/pg_class|SELECT/);
    expect(await send('meant')).toContain('as the application says');
    socket.close();
    await test.close();
  });
});
