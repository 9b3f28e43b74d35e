import type { ArgumentsHost } from '@nestjs/common';
import {
  type ApplicationConfig,
  ContextIdFactory,
  type HttpAdapterHost,
  type ModulesContainer,
} from '@nestjs/core';
import type { HttpExchange } from '../context/request-context';
import type { ExceptionsHandler } from './answer-once';
import { Handler } from './handlers';

/** What makes the exceptions handler of each route. */
type RouterExceptionFilters = new (
  container: { getModules(): ModulesContainer },
  config: ApplicationConfig,
  adapter: HttpAdapterHost['httpAdapter'],
) => {
  create(
    controller: object,
    method: Function,
    moduleKey: string | undefined,
    contextId?: unknown,
    inquirerId?: string,
  ): ExceptionsHandler;
};

interface Nest {
  readonly RouterExceptionFilters: RouterExceptionFilters;
  readonly ExecutionContextHost: new (args: readonly unknown[]) => ArgumentsHost;
}

const NO_METHOD = (): void => undefined;

/**
 * Asks exception filters outside of Nest's call of a handler: those of its method, its controller and the
 * application, or Nest's own one, with its line in the log.
 *
 * Asked for where Nest asks for them when it makes a route, and at once: in a process that is about
 * to end no promise settles any more. Nothing is patched for it.
 */
export class FilterAnswer {
  readonly #modules: ModulesContainer;
  readonly #config: ApplicationConfig;
  readonly #host: HttpAdapterHost;

  constructor(modules: ModulesContainer, config: ApplicationConfig, host: HttpAdapterHost) {
    this.#modules = modules;
    this.#config = config;
    this.#host = host;
  }

  /** What answers an error of a handler, made anew; `undefined` where a later Nest has moved it. */
  of(
    handler: unknown,
    exchange: HttpExchange,
  ): { filters: ExceptionsHandler; host: ArgumentsHost } | undefined {
    const nest = loadNest();
    if (nest === undefined) return undefined;
    const factory = new nest.RouterExceptionFilters(
      { getModules: () => this.#modules },
      this.#config,
      this.#host.httpAdapter,
    );
    const [request, response, next] = exchange;
    return {
      filters: this.#find(factory, handler, request),
      host: new nest.ExecutionContextHost([request, response, next]),
    };
  }

  #find(filters: InstanceType<RouterExceptionFilters>, handler: unknown, request: object): ExceptionsHandler {
    const { controller, method, module: owner } = handler instanceof Handler ? handler.owners : {};
    for (const [key, module] of this.#modules) {
      const wrapper = controller && module.controllers.get(controller);
      if (wrapper === undefined || method === undefined) continue;
      // Several modules may have the class.
      if (owner !== undefined && module.metatype !== owner) continue;
      return wrapper.isDependencyTreeStatic()
        ? filters.create(wrapper.instance as object, method, key, undefined, wrapper.id)
        : filters.create(
            wrapper.instance as object,
            method,
            key,
            ContextIdFactory.getByRequest(request),
            wrapper.id,
          );
    }
    // No route has taken it: global filters answer, as they do a 404.
    return filters.create({}, NO_METHOD, undefined);
  }
}

let nest: Nest | undefined;

function loadNest(): Nest | undefined {
  try {
    // Not in the index of the package, but at these paths in Nest 11 and in Nest 12.
    return (nest ??= {
      ...(require('@nestjs/core/router/router-exception-filters') as Pick<Nest, 'RouterExceptionFilters'>),
      ...(require('@nestjs/core/helpers/execution-context-host') as Pick<Nest, 'ExecutionContextHost'>),
    });
  } catch {
    // Moved by a later Nest: then nothing is answered.
    return undefined;
  }
}
