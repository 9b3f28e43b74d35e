import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { connect } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextModule, ContextService, MemorySink } from 'nestjs-async-context';
import { LogLines, startApp, type TestApp, until } from '../support/platforms';

@Controller()
class IdController {
  constructor(private readonly context: ContextService) {}

  @Get()
  id(): string | undefined {
    return this.context.requestId;
  }

  @Get('never')
  never(): Promise<never> {
    return new Promise(() => undefined);
  }
}

describe('a request over HTTP/2', () => {
  it('has a context and a record as any other, finished or aborted', async () => {
    const sink = new MemorySink();
    @Module({
      imports: [AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 5 } })],
      controllers: [IdController],
    })
    class AppModule {}
    const app = await NestFactory.create(AppModule, new FastifyAdapter({ http2: true }), {
      logger: new LogLines(),
    });
    await app.listen(0, '127.0.0.1');
    const session = connect((await app.getUrl()).replace('[::1]', '127.0.0.1'));
    const ask = (path: string, leave: boolean) =>
      new Promise<string>((resolve, reject) => {
        const stream = session.request({ ':path': path });
        let body = '';
        stream.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
        stream.on('close', () => resolve(body)).on('error', reject);
        if (leave) setTimeout(() => stream.close(), 30);
      });
    const id = await ask('/', false);
    await ask('/never', true);
    const records = await until(() => sink.records.length === 2 && sink.records, 'two records');
    expect(records[0]).toMatchObject({ requestId: id, status: 200, aborted: false, route: 'GET /' });
    expect(records[1]).toMatchObject({ aborted: true, route: 'GET /never', handler: 'IdController.never' });
    session.close();
    await app.close();
  });
});

describe('a request that Fastify is handed without a socket', () => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({ platform: 'fastify', made: 'testing', controllers: [IdController] });
  });
  afterAll(() => test.close());

  it('has a context and a record as any other', async () => {
    const response = await (test.app as NestFastifyApplication).inject({ method: 'GET', url: '/' });
    expect(response.body).toBe(response.headers['x-request-id']);
    const [record] = await test.records(1);
    expect(record).toMatchObject({ requestId: response.body, status: 200, aborted: false, route: 'GET /' });
  });
});
