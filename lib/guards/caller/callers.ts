import type { ExecutionContext } from '@nestjs/common';
import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import { answerOf } from '../../kernel/answer-of';
import { OwnError } from '../../kernel/own-error';
import type { GuardKit } from '../guard-kit';
import { nameOf } from '../guard-kit-token';
import type { CallerBy } from './caller-by';
import { callerAddress, trustsAnybody } from './caller-address';
import { callerKey } from './bounded-key';

/** Tells callers apart. */
export class Callers {
  readonly #kit: GuardKit;
  #hasLookedAtProxy = false;

  constructor(kit: GuardKit) {
    this.#kit = kit;
  }

  /**
   * The key of a caller; `x:` and its address for one that `by` gives nothing for; `undefined` for one that has left
   * and is told by its address, where nobody has looked at that before. Never throws.
   */
  keyOf(by: CallerBy, execution: ExecutionContext, context: RequestContext): string | undefined {
    const { ipv6Prefix } = this.#kit.options;
    if (by === 'ip') {
      if (!this.#hasLookedAtProxy) this.#warnOfProxy(context);
      return addressKey('ip', callerAddress(execution, context, ipv6Prefix));
    }
    const caller = this.#ask(by, execution, context);
    if (caller === undefined) return addressKey('x', callerAddress(execution, context, ipv6Prefix));
    return callerKey(by === 'user' ? 'u' : typeof by === 'function' ? 'f' : 'k', caller);
  }

  #ask(
    by: Exclude<CallerBy, 'ip'>,
    execution: ExecutionContext,
    context: RequestContext,
  ): string | undefined {
    if (by === 'user') return textOf(idOf(context, execution));
    if (typeof by === 'object') return textOf(context.values?.get(by));
    const where = `the by function of ${nameOf(execution)}`;
    const { hookErrors, contextService } = this.#kit;
    const ask = (): unknown => by(contextService);
    return hookErrors.ask(where, () => {
      const given = contextStorage.getStore() === context ? ask() : contextStorage.run(context, ask);
      const caller = textOf(answerOf(given));
      if (caller === undefined)
        throw new OwnError('it did not return a string, so the address is used instead');
      return caller;
    });
  }

  /** Once: from then on anybody can be anybody. */
  #warnOfProxy({ request }: RequestContext): void {
    if (request === undefined) return;
    this.#hasLookedAtProxy = true;
    if (!trustsAnybody(request)) return;
    this.#kit.hookErrors.say(
      'caller addresses',
      '"trust proxy" is true, so request.ip is whatever the client wrote into x-forwarded-for, and a client can ' +
        'pose as a new caller with each request. Set "trust proxy" to the number or the addresses of your proxies',
    );
  }
}

function addressKey(kind: 'ip' | 'x', address: string | undefined): string | undefined {
  return address === undefined ? undefined : callerKey(kind, address);
}

function idOf(context: RequestContext, execution: ExecutionContext): unknown {
  try {
    const user: unknown = context.isClosed ? userAfterClose(context, execution) : context.currentUser();
    return (user as { id?: unknown } | undefined | null)?.id;
  } catch {
    return undefined;
  }
}

/** A context lets go of its request; a guard before may have found the user since. */
function userAfterClose(context: RequestContext, execution: ExecutionContext): unknown {
  const known: unknown = context.currentUser();
  if (known !== undefined || execution.getType() !== 'http') return known;
  return execution.switchToHttp().getRequest<{ user?: unknown }>().user;
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : undefined;
}
