import { Controller, Get } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { startApp, type TestApp } from '../support/platforms';

@Controller()
class IdController {
  constructor(private readonly context: ContextService) {}

  @Get()
  id(): string | undefined {
    return this.context.requestId;
  }
}

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
