import type { ApplicationConfig, ModulesContainer } from '@nestjs/core';
import { oncePerProcess } from '../kernel/once-per-process';
import { loadMicroservices } from '../propagation/messages/microservices';
import type { ContextInterceptor } from './context.interceptor';
import type { MessageServer } from '../units/rpc-handlers';
import type { UnitsOfWork } from '../units/units-of-work';

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
        // With the first server: applications without one go without what reads messages.
        const { coverHandlers } = require('../units/rpc-handlers') as typeof import('../units/rpc-handlers');
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
