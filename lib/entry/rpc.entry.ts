import type { ApplicationConfig, ModulesContainer } from '@nestjs/core';
import { isObservable } from 'rxjs';
import { oncePerProcess } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import type { PacketServer } from '../messages/arrived-metadata';
import { arrivingStream } from '../messages/arriving-stream';
import { closeWithCall, grpcMethod } from '../messages/grpc-call';
import { arrivedCarrier, prepareArrivals } from '../messages/message-arrival';
import { loadMicroservices } from '../messages/microservices';
import type { ContextInterceptor } from './context.interceptor';
import { runToEnd } from './settle';
import type { UnitsOfWork } from './units-of-work';

type MessageCallback = ((...args: unknown[]) => unknown) & { next?: unknown };

interface MessageServer extends PacketServer {
  readonly messageHandlers: Map<string, MessageCallback>;
}

/** The parts of `NestMicroservice` that are used here; Nest 11 and 12 have the same. */
interface Microservice {
  readonly container: { getModules(): ModulesContainer };
  readonly applicationConfig: ApplicationConfig;
  readonly serverInstance: MessageServer;
  registerListeners(): unknown;
}

/** What one application wants to happen to its microservices. */
interface RpcCover {
  readonly units: UnitsOfWork;
  readonly interceptor: ContextInterceptor;
}

/**
 * Opens a context for each message before its guards run.
 *
 * The official hooks do not reach a default hybrid application: it has an `ApplicationConfig` of
 * its own, and its server is not to be had from a module. `registerListeners()` is where Nest puts
 * every handler on a server, pure or hybrid, in 11 and in 12; the handlers are covered right after.
 */
export class RpcEntry {
  readonly #covers = oncePerProcess('rpc', () => new WeakMap<object, RpcCover>());

  install(modules: ModulesContainer, cover: RpcCover): void {
    this.#covers.set(modules, cover);
    const prototype = loadMicroservices()?.['NestMicroservice']?.prototype;
    if (prototype !== undefined) this.#patch(prototype as Microservice);
  }

  uninstall(modules: ModulesContainer): void {
    this.#covers.delete(modules);
  }

  #patch(prototype: Microservice): void {
    const covers = this.#covers;
    oncePerProcess('rpc.patch', () => {
      const register = prototype.registerListeners;
      prototype.registerListeners = function registerListeners(this: Microservice) {
        const cover = covers.get(this.container.getModules());
        if (cover === undefined) return register.call(this);
        const leave = intercept(this.applicationConfig, cover.interceptor);
        const result = register.call(this);
        leave();
        coverHandlers(this.serverInstance, cover.units);
        return result;
      };
      return true;
    });
  }
}

/**
 * Lets a configuration have the interceptor while the handlers are made. A hybrid application may
 * share its configuration with HTTP, where the interceptor is not wanted.
 */
function intercept(config: ApplicationConfig, interceptor: ContextInterceptor): () => void {
  const interceptors = config.getGlobalInterceptors();
  if (interceptors.includes(interceptor)) return () => undefined;
  interceptors.unshift(interceptor);
  return () => void interceptors.splice(interceptors.indexOf(interceptor), 1);
}

function coverHandlers(server: MessageServer, units: UnitsOfWork): void {
  const close = (context: RequestContext): void => units.close(context);
  if (units.carriesOnMessages) prepareArrivals(server);
  for (const [pattern, callback] of server.messageHandlers) {
    const grpc = grpcMethod(pattern);
    const route = grpc?.route ?? pattern;
    const covered: MessageCallback = (...args) => {
      const context = units.open('rpc');
      context.route = route;
      if (grpc !== undefined) units.incomingDeadline.readCall(context, args);
      const carrier = units.carriesOnMessages ? arrivedCarrier(args) : undefined;
      const within = carrier === undefined ? undefined : units.adopt(context, carrier, 'messages');
      const [message] = args;
      if (isObservable(message)) args[0] = arrivingStream(message);
      const end = grpc === undefined ? close : closeWithCall(grpc, args, context, close);
      const handle = (): unknown => callback(...args);
      return runToEnd(context, within === undefined ? handle : () => within(handle), end);
    };
    server.messageHandlers.set(pattern, Object.assign(covered, callback));
  }
}
