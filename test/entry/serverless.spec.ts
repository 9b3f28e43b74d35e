import { configure as codegenie } from '@codegenie/serverless-express';
import awsLambda from '@fastify/aws-lambda';
import { Body, Controller, Get, HttpException, Param, Post, StreamableFile } from '@nestjs/common';
import type { FastifyInstance, InjectOptions } from 'fastify';
import type { RequestListener } from 'node:http';
import serverless from 'serverless-http';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { type Platform, startApp, type TestApp } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

const closed: (string | undefined)[] = [];

@Controller('orders')
class OrdersController {
  constructor(private readonly context: ContextService) {}

  @Get('file')
  file(): StreamableFile {
    return new StreamableFile(Buffer.alloc(100_000, 'x'));
  }

  @Get('refused')
  refused(): never {
    throw new HttpException('no', 418);
  }

  @Get('later/:id')
  async later(@Param('id') id: string): Promise<string> {
    this.context.onClose(() => closed.push(this.context.requestId));
    await new Promise(resolve => setTimeout(resolve, 5));
    return id;
  }

  @Post()
  create(@Body() body: unknown): unknown {
    return { body };
  }
}

interface Asked {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: string;
}

interface Answered {
  readonly statusCode: number;
  readonly body: string;
}

/** Sends one request to an application without a server. */
type Ask = (asked: Asked) => Promise<Answered>;

const LAMBDA = { awsRequestId: 'lambda', callbackWaitsForEmptyEventLoop: false };

/** What API Gateway sends: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html */
function gatewayEvent({ method, path, body }: Asked) {
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: '',
    headers: { host: 'api.test', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    requestContext: {
      http: { method, path, sourceIp: '127.0.0.1', protocol: 'HTTP/1.1' },
      stage: '$default',
    },
    ...(body === undefined ? {} : { body }),
    isBase64Encoded: false,
  };
}

function azureRequest({ method, path, body = '' }: Asked) {
  return {
    method,
    url: `http://api.test${path}`,
    headers: { host: 'api.test', ...(body === '' ? {} : { 'content-type': 'application/json' }) },
    rawBody: body,
    query: {},
  };
}

type LambdaHandler = (event: unknown, context: unknown, ...rest: unknown[]) => Promise<Answered>;

function inLambda(handler: unknown): Ask {
  return asked => (handler as LambdaHandler)(gatewayEvent(asked), LAMBDA);
}

/** The recipe of docs/serverless.md. */
function flushing(ask: Ask, context: ContextService): Ask {
  return async asked => {
    try {
      return await ask(asked);
    } finally {
      await context.flush(5_000);
    }
  };
}

const instanceOf = ({ app }: TestApp): RequestListener =>
  app.getHttpAdapter().getInstance() as RequestListener;
const fastifyOf = ({ app }: TestApp): FastifyInstance =>
  app.getHttpAdapter().getInstance() as unknown as FastifyInstance;

const adapters: [name: string, platform: Platform, ask: (test: TestApp) => Ask][] = [
  ['serverless-http', 'express', test => inLambda(serverless(instanceOf(test)))],
  ['serverless-http', 'fastify', test => inLambda(serverless(instanceOf(test)))],
  ['serverless-http, given the server', 'express', test => inLambda(serverless(test.app.getHttpServer()))],
  ['serverless-http, given the server', 'fastify', test => inLambda(serverless(test.app.getHttpServer()))],
  [
    'serverless-http on Azure',
    'express',
    test => async asked => {
      const handler = serverless(instanceOf(test), { provider: 'azure' });
      const request = { ...azureRequest(asked), url: asked.path };
      const answered = (await handler({ log: () => undefined }, request)) as {
        status: number;
        body: string;
      };
      return { statusCode: answered.status, body: answered.body };
    },
  ],
  ['@codegenie/serverless-express', 'express', test => inLambda(codegenie({ app: instanceOf(test) }))],
  ['@codegenie/serverless-express', 'fastify', test => inLambda(codegenie({ app: fastifyOf(test).routing }))],
  [
    '@codegenie/serverless-express on Azure',
    'express',
    test => {
      const handler = codegenie({
        app: instanceOf(test),
        eventSourceName: 'AZURE_HTTP_FUNCTION_V4',
      }) as unknown as LambdaHandler;
      return asked => handler({ req: azureRequest(asked) }, LAMBDA);
    },
  ],
  [
    '@fastify/aws-lambda',
    'fastify',
    test => inLambda(awsLambda(fastifyOf(test), { decorateRequest: false })),
  ],
  [
    'light-my-request',
    'fastify',
    test =>
      ({ method, path, body }) =>
        fastifyOf(test).inject({
          method,
          url: path,
          payload: body,
          headers: body === undefined ? {} : { 'content-type': 'application/json' },
        } as InjectOptions),
  ],
];

const requests: [asked: Asked, expected: Partial<CostRecord>][] = [
  [
    { method: 'GET', path: '/orders/later/7' },
    { status: 200, route: 'GET /orders/later/:id', handler: 'OrdersController.later' },
  ],
  [
    { method: 'GET', path: '/orders/refused' },
    { status: 418, error: 'HttpException' },
  ],
  [{ method: 'GET', path: '/nowhere' }, { status: 404 }],
  [
    { method: 'POST', path: '/orders', body: '{"of":"ann"}' },
    { status: 201, route: 'POST /orders' },
  ],
  [
    { method: 'GET', path: '/orders/file' },
    { status: 200, route: 'GET /orders/file' },
  ],
];

describe.each(adapters)('behind %s on %s', (_name, platform, adapt) => {
  it('a request ends once, with its status and not aborted', async () => {
    // A queue that waits for a minute: what is written is what `flush()` has written.
    test = await startApp({
      platform,
      controllers: [OrdersController],
      sinkQueue: { intervalMs: 60_000 },
    });
    const context = test.app.get(ContextService);
    const ask = flushing(adapt(test), context);
    closed.length = 0;

    for (const [asked, expected] of requests) {
      test.sink.clear();
      const { statusCode } = await ask(asked);

      expect(statusCode).toBe(expected.status);
      expect(test.sink.records).toHaveLength(1);
      expect(test.sink.records[0]).toMatchObject({ kind: 'http', aborted: false, ...expected });
    }
    expect(closed).toHaveLength(1);
    // A second record would come by now.
    test.sink.clear();
    await new Promise(resolve => setTimeout(resolve, 20));
    await context.flush();
    expect(test.sink.records).toHaveLength(0);
  });
});
