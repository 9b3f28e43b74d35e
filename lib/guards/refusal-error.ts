import { type ExecutionContext, HttpException } from '@nestjs/common';
import { loadMicroservices } from '../messages/microservices';
import type { Refusal } from './refusal';

type ErrorClass = new (error: object) => Error;

/** Codes of gRPC by HTTP status: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
const GRPC: Readonly<Record<number, number>> = { 401: 16, 403: 7, 429: 8, 503: 14 };

/** As Apollo has them where there is one: https://www.apollographql.com/docs/apollo-server/data/errors */
const GRAPHQL: Readonly<Record<number, string>> = {
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  429: 'TOO_MANY_REQUESTS',
  503: 'SERVICE_UNAVAILABLE',
};

/** The error that says a refusal in the words of its transport. */
export function refusalError(type: string, refusal: Omit<Refusal, 'by'>): Error {
  const { status, message, reason, retryAfterSeconds } = refusal;
  if (type === 'rpc' || type === 'ws') {
    const made = type === 'rpc' ? loadMicroservices()?.['RpcException'] : loadWsException();
    if (made !== undefined) {
      return new (made as unknown as ErrorClass)({
        status: 'error',
        statusCode: status,
        // Only gRPC reads it.
        ...(type === 'rpc' && { code: GRPC[status] }),
        message,
        reason,
        ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
      });
    }
  }
  const { body } = refusal;
  const error = new HttpException(body ?? { statusCode: status, message, reason }, status, {
    description: message,
  });
  if (type !== 'graphql') return error;
  // graphql-js takes them over. Apollo gives an `HttpException` a code of its own; Mercurius does not know it.
  const extensions = {
    code: GRAPHQL[status],
    reason,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
  return Object.assign(error, { extensions });
}

/** Tells an HTTP client, also one of GraphQL, when to come again, and of what kind the answer is. */
export function answerRefusal(execution: ExecutionContext, response: unknown, refusal: Refusal): void {
  const { retryAfterSeconds, body } = refusal;
  const raw = response as
    { headersSent: boolean; setHeader?(name: string, value: string): unknown } | undefined;
  if (retryAfterSeconds !== undefined && raw?.headersSent === false)
    raw.setHeader?.('retry-after', String(retryAfterSeconds));
  if (body?.['type'] === undefined || execution.getType() !== 'http') return;
  // Express and Fastify have it by this name; Fastify sets what it is not told.
  const reply = execution.switchToHttp().getResponse<{ header?(name: string, value: string): unknown }>();
  reply.header?.('content-type', 'application/problem+json');
}

function loadWsException(): unknown {
  try {
    return (require('@nestjs/websockets') as { WsException?: unknown }).WsException;
  } catch {
    // Not installed: then there is no such transport.
    return undefined;
  }
}
