import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  Inject,
  Injectable,
  Param,
  Res,
  Scope,
  Sse,
  StreamableFile,
  UseFilters,
} from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import type { ServerResponse } from 'node:http';
import { NEVER, type Observable } from 'rxjs';
import type { ContextService } from '../../../../lib/index';
import type { Drivers } from './drivers';
import { auditAtOnce, hookErrors, PaymentError, secret } from './faults';

/** What the process holds for its requests. */
export const held: { services: ContextService[]; drivers?: Drivers } = { services: [] };

/** What Express's response and Fastify's reply have in common. */
type Reply = { status(code: number): { send(body: object): void }; raw?: ServerResponse };

function answer(host: ArgumentsHost, status: number, by: string): void {
  host.switchToHttp().getResponse<Reply>().status(status).send({ by });
}

@Catch(PaymentError)
class MethodFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    answer(host, 402, 'method');
  }
}

@Catch(RangeError)
class ControllerFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    answer(host, 416, 'controller');
  }
}

/** Answers after a while, and late when it is asked to. */
@Catch(SyntaxError)
export class GlobalFilter implements ExceptionFilter {
  async catch(error: SyntaxError, host: ArgumentsHost): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, error.message === 'slow' ? 60 : 2));
    answer(host, 422, 'global');
  }
}

/** A provider of the application: `APP_FILTER`. */
@Catch(EvalError)
export class ProvidedFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    answer(host, 418, 'provided');
  }
}

@Catch(URIError)
@Injectable({ scope: Scope.REQUEST })
class RequestFilter implements ExceptionFilter {
  constructor(@Inject(REQUEST) private readonly request: { url: string }) {}

  catch(_error: unknown, host: ArgumentsHost): void {
    answer(host, 409, `request ${this.request.url}`);
  }
}

const errors: Record<string, () => Error> = {
  PaymentError: () => new PaymentError(secret),
  RangeError: () => new RangeError(secret),
  SyntaxError: () => new SyntaxError(secret),
  slow: () => new SyntaxError('slow'),
  EvalError: () => new EvalError(secret),
  URIError: () => new URIError(secret),
  TypeError: () => new TypeError(secret),
};

/** Loses an error of a kind. */
export function lose(what: string): void {
  setTimeout(() => {
    throw errors[what]!();
  }, 1);
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

@Controller()
@UseFilters(ControllerFilter)
export class OrdersController {
  @Get('lose/:how')
  lose(@Param('how') how: string): Promise<never> {
    hookErrors[how]!(held.services.at(-1));
    return new Promise(() => undefined);
  }

  @Get('open')
  async open(): Promise<void> {
    await held.drivers!.open();
  }

  @Get('driver/:name')
  driver(@Param('name') name: string): Promise<never> {
    held.drivers!.lose(name);
    return new Promise(() => undefined);
  }

  @Get('clean')
  async clean(): Promise<string> {
    await auditAtOnce().catch(() => undefined);
    await pause(0);
    return 'clean';
  }

  @Get('job')
  job(): string {
    void held.services.at(-1)!.run({ handler: 'Nightly.run' }, async () => {
      hookErrors['setImmediate']!(undefined);
      await pause(20);
    });
    return 'started';
  }
}

/** Each ends in another way after its error was lost. */
@Controller('answer')
@UseFilters(ControllerFilter)
export class AnswerController {
  @Get('never/:what')
  @UseFilters(MethodFilter)
  never(@Param('what') what: string): Promise<never> {
    lose(what);
    return new Promise(() => undefined);
  }

  @Get('later/:what')
  @UseFilters(MethodFilter)
  async later(@Param('what') what: string): Promise<object> {
    lose(what);
    await pause(30);
    return { by: 'handler' };
  }

  @Get('fails/:what')
  @UseFilters(MethodFilter)
  async fails(@Param('what') what: string): Promise<never> {
    lose(what);
    await pause(30);
    throw errors[what]!();
  }

  @Get('file/:what')
  @UseFilters(MethodFilter)
  async file(@Param('what') what: string): Promise<StreamableFile> {
    lose(what);
    await pause(30);
    return new StreamableFile(Buffer.from('a file'));
  }

  @Get('by-hand/:what')
  @UseFilters(MethodFilter)
  byHand(@Param('what') what: string, @Res() response: Reply): void {
    lose(what);
    setTimeout(() => response.status(200).send({ by: 'hand' }), 30);
  }

  @Get('raw/:what')
  @UseFilters(MethodFilter)
  raw(@Param('what') what: string, @Res() response: Reply & ServerResponse): void {
    lose(what);
    const raw = response.raw ?? response;
    setTimeout(() => raw.setHeader('x-late', '1').writeHead(200).end('raw'), 30);
  }

  @Get('begun/:what')
  @UseFilters(MethodFilter)
  begun(@Param('what') what: string, @Res() response: Reply & ServerResponse): void {
    const raw = response.raw ?? response;
    raw.write('begun ');
    lose(what);
    setTimeout(() => raw.end('and ended'), 30);
  }

  @Sse('events/:what')
  @UseFilters(MethodFilter)
  events(@Param('what') what: string): Observable<never> {
    lose(what);
    return NEVER;
  }
}

@Controller({ path: 'scoped', scope: Scope.REQUEST })
@UseFilters(RequestFilter)
export class ScopedController {
  constructor(@Inject(REQUEST) private readonly request: object) {}

  @Get(':what')
  never(@Param('what') what: string): Promise<never> | undefined {
    lose(what);
    return this.request ? new Promise(() => undefined) : undefined;
  }
}
