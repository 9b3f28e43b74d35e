import 'reflect-metadata';
import type { ApplicationConfig } from '@nestjs/core';
import type { RequestContext } from '../context/request-context';
import { coverMethod } from './covered-method';
import { runToEnd } from './settle';
import type { UnitsOfWork } from './units-of-work';

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

const COVERED = Symbol.for('nestjs-async-context.websocket');

/**
 * Opens a context for each WebSocket message before its guards run.
 *
 * Nest has no hook there. But each message goes through the callbacks that Nest hands to the
 * adapter's `bindMessageHandlers()`, guards included, so those run inside a context.
 */
export function coverWebSockets(config: ApplicationConfig, units: UnitsOfWork): void {
  const adapter = config.getIoAdapter() as unknown as
    { bindMessageHandlers: BindMessageHandlers & { [COVERED]?: true } } | undefined;
  if (adapter === undefined || adapter === null || adapter.bindMessageHandlers[COVERED]) return;
  const bind = adapter.bindMessageHandlers;
  const close = (context: RequestContext): void => units.close(context);
  const covered: BindMessageHandlers = function (this: unknown, client, handlers, ...rest) {
    return bind.call(this, client, handlers.map(cover), ...rest);
  };
  adapter.bindMessageHandlers = Object.assign(covered, { [COVERED]: true as const });

  function cover(handler: MessageHandler): MessageHandler {
    const { message, callback } = handler;
    const route = typeof message === 'string' ? message : JSON.stringify(message);
    return {
      ...handler,
      callback: (...args) => {
        const context = units.open('websocket');
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
