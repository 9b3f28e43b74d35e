import { type ChargeRedirect, currentRedirect } from '../../context/charge-redirect';
import type { RequestContext } from '../../context/request-context';
import { readCost } from '../../cost/remote-header';
import { hostOfOrigin } from '../../drivers/http/http-call';
import { sharedName } from '../../kernel/protocol';

/** Kept on the request of the client itself, also for another copy of this package. */
const ASKED = Symbol.for(sharedName('asked'));
/** Before the answer there may be others, such as 103. */
const FIRST_ANSWER = 200;
/** Where the port is not known. */
const NO_PORT = /:0$/;
const HEADER = 'server-timing';

/** Who has asked a listed host, until it has answered. */
interface Asked {
  readonly context: RequestContext;
  readonly redirect: ChargeRedirect | undefined;
  readonly host: string;
}

type Request = object & { [ASKED]?: Asked | undefined };

/** Notes who asks: what the answer says of its cost is added there. */
export function noteAsked(request: Request, context: RequestContext, origin: string): void {
  request[ASKED] = { context, redirect: currentRedirect(), host: hostOfOrigin(origin).replace(NO_PORT, '') };
}

/** Adds what the head of an answer says: names and values in turn, as they came. */
export function addAnswer(request: Request, status: number | undefined, headers: readonly unknown[]): void {
  const asked = request[ASKED];
  if (asked === undefined || status === undefined || status < FIRST_ANSWER) return;
  request[ASKED] = undefined;
  const { context, redirect, host } = asked;
  const ledger = redirect === undefined ? context.cost : redirect.ledger;
  if (ledger === undefined || context.isClosed) return;
  const cost = readCost(allOf(headers).join(', '));
  if (cost !== undefined) ledger.addRemote(host, cost);
}

function allOf(headers: readonly unknown[]): string[] {
  const values: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as { readonly length: number };
    if (name.length === HEADER.length && String(name).toLowerCase() === HEADER) {
      values.push(String(headers[at + 1]));
    }
  }
  return values;
}
