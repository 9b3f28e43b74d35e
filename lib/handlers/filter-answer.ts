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

/** What answers an error, and what it is told of the request. */
export interface FoundFilters {
  readonly filters: ExceptionsHandler;
  readonly host: ArgumentsHost;
}

interface FoundController {
  readonly key: string;
  readonly wrapper: NonNullable<ReturnType<Controllers['get']>>;
  readonly method: Function;
}

type Module = typeof ModulesContainer.prototype extends Map<string, infer M> ? M : never;
type Controllers = Module['controllers'];

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
  readonly #shared = new WeakMap<Handler, ExceptionsHandler>();

  constructor(modules: ModulesContainer, config: ApplicationConfig, host: HttpAdapterHost) {
    this.#modules = modules;
    this.#config = config;
    this.#host = host;
  }

  /**
   * What answers an error of a handler; `undefined` where a later Nest has moved it.
   *
   * @param isShared whether it may be the one of an earlier request: nobody is to change it then
   */
  of(handler: unknown, exchange: HttpExchange, isShared = false): FoundFilters | undefined {
    const nest = loadNest();
    if (nest === undefined) return undefined;
    const [request, response, next] = exchange;
    const known = isShared && handler instanceof Handler ? this.#shared.get(handler) : undefined;
    return {
      filters: known ?? this.#make(nest, handler, request, isShared),
      host: new nest.ExecutionContextHost([request, response, next]),
    };
  }

  #make(nest: Nest, handler: unknown, request: object, isShared: boolean): ExceptionsHandler {
    const factory = new nest.RouterExceptionFilters(
      { getModules: () => this.#modules },
      this.#config,
      this.#host.httpAdapter,
    );
    const found = handler instanceof Handler ? this.#find(handler) : undefined;
    // No route has taken it: global filters answer, as they do a 404.
    if (found === undefined) return factory.create({}, NO_METHOD, undefined);
    const { key, wrapper, method } = found;
    const instance = wrapper.instance as object;
    if (!wrapper.isDependencyTreeStatic()) {
      return factory.create(instance, method, key, ContextIdFactory.getByRequest(request), wrapper.id);
    }
    const filters = factory.create(instance, method, key, undefined, wrapper.id);
    if (isShared) this.#shared.set(handler as Handler, filters);
    return filters;
  }

  #find({ owners: { controller, method, module: owner } }: Handler): FoundController | undefined {
    for (const [key, module] of this.#modules) {
      const wrapper = controller && module.controllers.get(controller);
      if (wrapper === undefined || method === undefined) continue;
      // Several modules may have the class.
      if (owner !== undefined && module.metatype !== owner) continue;
      return { key, wrapper, method };
    }
    return undefined;
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
