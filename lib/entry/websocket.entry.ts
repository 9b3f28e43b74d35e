import 'reflect-metadata';
import type { ApplicationConfig } from '@nestjs/core';
import { sharedName } from '../kernel/protocol';
import type { RequestContext } from '../context/request-context';
import { coverMethod } from '../units/covered-method';
import { runToEnd } from '../units/settle';
import type { UnitsOfWork } from '../units/units-of-work';

interface MessageHandler {
  readonly message: unknown;
  readonly callback: (...args: unknown[]) => unknown;
}

type BindMessageHandlers = (client: unknown, handlers: MessageHandler[], ...rest: unknown[]) => unknown;

/** What `@WebSocketGateway()` marks a class with. */
const GATEWAY = 'websockets:is_gateway';
const CONNECTION_METHODS = [
  ['handleConnection', 'connection'],
  ['handleDisconnect', 'disconnect'],
] as const;

const COVERED = Symbol.for(sharedName('websocket'));

interface CoveredAdapter {
  bindMessageHandlers: BindMessageHandlers;
  /** The applications that have it, those that are closed last. */
  [COVERED]?: UnitsOfWork[];
}

/**
 * Opens a context for each WebSocket message before its guards run.
 *
 * Nest has no hook there. But each message goes through the callbacks that Nest hands to the
 * adapter's `bindMessageHandlers()`, guards included, so those run inside a context.
 *
 * @returns what lets another application on the same adapter open them, when this one is closed
 */
export function coverWebSockets(config: ApplicationConfig, units: UnitsOfWork): () => void {
  const adapter = config.getIoAdapter() as unknown as CoveredAdapter | undefined;
  if (adapter === undefined || adapter === null) return () => undefined;
  const known = adapter[COVERED];
  const applications = known ?? [];
  applications.push(units);
  if (known === undefined) {
    Object.defineProperty(adapter, COVERED, { value: applications });
    coverAdapter(adapter, applications);
  }
  return () => void applications.push(...applications.splice(applications.indexOf(units), 1));
}

const close = (context: RequestContext): void => context.application.close(context);

function coverAdapter(adapter: CoveredAdapter, applications: readonly UnitsOfWork[]): void {
  const bind = adapter.bindMessageHandlers;
  adapter.bindMessageHandlers = function (this: unknown, client, handlers, ...rest) {
    return bind.call(this, client, handlers.map(cover), ...rest);
  };

  function cover(handler: MessageHandler): MessageHandler {
    const { message, callback } = handler;
    const route = typeof message === 'string' ? message : JSON.stringify(message);
    return {
      ...handler,
      callback: (...args) => {
        const [units, ...others] = applications;
        if (units === undefined) return callback(...args);
        const context = units.open('websocket');
        for (const other of others) context.share(other);
        context.route = route;
        return runToEnd(context, () => callback(...args), close);
      },
    };
  }
}

/**
 * Gives what a gateway does when a client comes and goes a unit of work each: the request for the connection
 * has ended with the handshake.
 */
export function coverConnections(prototype: object): void {
  if (!Reflect.hasMetadata(GATEWAY, prototype.constructor)) return;
  for (const [key, route] of CONNECTION_METHODS) {
    coverMethod(prototype, key, (_client, caller) => ({ kind: 'websocket', route, caller }));
  }
}
