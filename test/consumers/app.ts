import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { AsyncContextModule, ContextService } from 'nestjs-async-context';

@Injectable()
class AnswerService {
  constructor(private readonly context: ContextService) {}

  async answer(): Promise<{ requestId: string | undefined }> {
    await new Promise(resolve => setTimeout(resolve, 5));
    return { requestId: this.context.requestId };
  }
}

@Controller()
class AnswerController {
  constructor(private readonly service: AnswerService) {}

  @Get()
  answer(): Promise<{ requestId: string | undefined }> {
    return this.service.answer();
  }
}

@Module({
  imports: [AsyncContextModule.forRoot()],
  controllers: [AnswerController],
  providers: [AnswerService],
})
class AppModule {
  constructor(readonly context: ContextService) {}
}

/** What a client sees: the id in the body and the id in the header. */
export interface Answer {
  body: string | undefined;
  header: string | null;
}

/** Starts the application, sends it so many requests at once, stops it. */
export async function ask(platform: string, requests: number): Promise<Answer[]> {
  const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
  const app = await NestFactory.create(AppModule, adapter, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  try {
    const url = (await app.getUrl()) + '/';
    return await Promise.all(
      Array.from({ length: requests }, async () => {
        const response = await fetch(url);
        const { requestId } = (await response.json()) as { requestId?: string };
        return { body: requestId, header: response.headers.get('x-request-id') };
      }),
    );
  } finally {
    await app.close();
  }
}
