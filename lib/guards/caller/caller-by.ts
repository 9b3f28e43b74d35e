import type { ExecutionContext } from '@nestjs/common';
import { isIP } from 'node:net';
import { invalidOption } from '../../async-context.errors';
import type { ContextKey } from '../../context/context-key';
import type { ContextService } from '../../context/context.service';
import type { RequestContext } from '../../context/request-context';
import type { GuardKit } from '../guard-kit';

/** Who a caller is: the user, the address, the value of a context key, or what a function finds. */
export type CallerBy = 'user' | 'ip' | ContextKey<string> | ((context: ContextService) => string | undefined);

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function checkCallerBy(path: string, by: unknown, call: string): void {
  if (by === undefined || by === 'user' || by === 'ip' || typeof by === 'function') return;
  if (typeof by === 'object' && by !== null && typeof (by as { name?: unknown }).name === 'string') return;
  throw invalidOption(path, by, "Use 'user', 'ip', a context key or a function of the context.", call);
}

/** Tells callers apart; who cannot be told by what is asked for is told by the address. Never throws. */
export function callerKey(
  by: CallerBy,
  context: RequestContext,
  execution: ExecutionContext,
  kit: GuardKit,
): string {
  const caller = by === 'ip' ? undefined : kit.faults.ask('by', () => find(by, context, kit));
  if (typeof caller === 'string') return `by:${caller}`;
  return `ip:${addressOf(execution)}`;
}

function find(by: Exclude<CallerBy, 'ip'>, context: RequestContext, kit: GuardKit): unknown {
  if (by === 'user') return context.currentUserId();
  return typeof by === 'function' ? by(kit.contextService) : context.values?.get(by);
}

function addressOf(execution: ExecutionContext): string {
  const [first, , third] = execution.getArgs<[unknown, unknown, { req?: unknown } | undefined]>();
  const request = (execution.getType<string>() === 'graphql' ? third?.req : first) as
    { ip?: unknown; socket?: { remoteAddress?: string } } | undefined;
  const { ip } = request ?? {};
  return typeof ip === 'string' && isIP(ip) !== 0 ? ip : (request?.socket?.remoteAddress ?? 'unknown');
}
