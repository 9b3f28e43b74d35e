import { HttpException } from '@nestjs/common';
import { loadMicroservices } from '../propagation/messages/microservices';
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

const PROBLEM_JSON = 'application/problem+json';

/** Types of problems, https://iana.org/assignments/http-problem-types, by HTTP status; others have none. */
const PROBLEMS: Readonly<Record<number, readonly [type: string, title: string]>> = {
  429: ['quota-exceeded', 'Request cannot be satisfied as assigned quota has been exceeded'],
  503: [
    'temporary-reduced-capacity',
    'Request cannot be satisfied due to temporary server capacity constraints',
  ],
};

/**
 * The error for a refusal, as its transport expects it.
 *
 * @param problemJson whether the body of an HTTP response is an RFC 9457 problem
 */
export function refusalError(type: string, refusal: Omit<Refusal, 'by'>, problemJson = false): Error {
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
  const body = problemJson && type === 'http' ? problemOf(refusal) : { statusCode: status, message, reason };
  const error = new HttpException(body, status, { description: message });
  if (type !== 'graphql') return error;
  // graphql-js takes them over. Apollo gives an `HttpException` a code of its own; Mercurius does not know it.
  const extensions = {
    code: GRAPHQL[status],
    reason,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
  return Object.assign(error, { extensions });
}

/**
 * Tells an HTTP client, including one of GraphQL, when to try again, and the content type of the response.
 *
 * @param raw the response of `node:http`
 * @param reply the response of the platform, if the body is a problem
 */
export function answerRefusal({ retryAfterSeconds }: Refusal, raw: unknown, reply?: unknown): void {
  const { headersSent, setHeader } = (raw ?? {}) as { headersSent?: boolean; setHeader?: unknown };
  if (headersSent !== false || typeof setHeader !== 'function') return;
  if (retryAfterSeconds !== undefined) setHeader.call(raw, 'retry-after', String(retryAfterSeconds));
  if (reply !== undefined) announceProblem(reply as PlatformReply);
}

/** Express's has `json()`; Fastify sets the content type unless it was set. */
interface PlatformReply {
  header?(name: string, value: string): unknown;
  json?(body: unknown): unknown;
}

function announceProblem(reply: PlatformReply): void {
  if (reply.json === undefined) reply.header?.('content-type', PROBLEM_JSON);
  else announceInJson(reply as Required<PlatformReply>);
}

/** Nest 11 sets the type of an error back to JSON, with a warning, right before it has Express send it. */
function announceInJson(response: Required<PlatformReply>): void {
  const { json } = response;
  response.json = body => {
    response.json = json;
    response.header('content-type', PROBLEM_JSON);
    return response.json(body);
  };
}

function problemOf({ status, message, reason, policy }: Omit<Refusal, 'by'>): object {
  const [type, title] = PROBLEMS[status] ?? [undefined, message];
  return {
    type: type === undefined ? 'about:blank' : `https://iana.org/assignments/http-problem-types#${type}`,
    title,
    status,
    reason,
    ...(policy !== undefined && { 'violated-policies': [policy] }),
  };
}

function loadWsException(): unknown {
  try {
    return (require('@nestjs/websockets') as { WsException?: unknown }).WsException;
  } catch {
    // Not installed: then there is no such transport.
    return undefined;
  }
}
