import {
  type DynamicModule,
  Inject,
  Module,
  Optional,
  type OptionalFactoryDependency,
  type Provider,
  type Type,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { ApplicationRuntime } from './application-runtime';
import { ASYNC_CONTEXT_OPTIONS, asyncOptionsProviders, optionsProvider } from './module-definition';
import { otherNest } from './nest-version';
import type { AsyncContextAsyncOptions, AsyncContextOptions } from './options';
import { AsyncContextError } from '../kernel/errors';
import { noteModule } from '../budget/module-check';
import { ContextService } from '../context/context.service';
import { ProcessFigures } from '../record/process-figures';
import { GUARD_KIT } from '../guards/guard-kit-token';
import { ResourceMonitor } from '../detectors/resources/resource-monitor';

const PROVIDERS: Provider[] = [
  {
    provide: ApplicationRuntime,
    // Optional, because a container of another copy of Nest does not know these classes: see `runtimeOf()`.
    inject: [ASYNC_CONTEXT_OPTIONS, ...[ModulesContainer, HttpAdapterHost, ApplicationConfig].map(optional)],
    useFactory: runtimeOf,
  },
  {
    provide: ContextService,
    inject: [ApplicationRuntime],
    useFactory: (runtime: ApplicationRuntime) => runtime.contextService,
  },
  {
    provide: ProcessFigures,
    inject: [ApplicationRuntime],
    useFactory: (runtime: ApplicationRuntime) => runtime.processFigures,
  },
  {
    provide: ResourceMonitor,
    inject: [ApplicationRuntime],
    useFactory: (runtime: ApplicationRuntime) => runtime.resourceMonitor,
  },
  {
    provide: GUARD_KIT,
    inject: [ApplicationRuntime],
    useFactory: (runtime: ApplicationRuntime) => runtime.guardKit,
  },
];

/**
 * Gives every unit of work of the application a context, counts what it costs, and enforces its limits.
 *
 * The module is global. Importing it twice is harmless: the options of the first import apply.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at startup, if it is imported as a class, without
 * `forRoot()`
 *
 * @example
 * @Module({ imports: [AsyncContextModule.forRoot({ budget: { queries: 100 } })] })
 * export class AppModule {}
 */
@Module({})
export class AsyncContextModule {
  // By its token: a bundler that compiles the sources leaves no metadata of types.
  constructor(@Optional() @Inject(ContextService) context?: ContextService) {
    if (context === undefined) {
      throw new AsyncContextError(
        'ASYNC_CONTEXT_INVALID_OPTION',
        'AsyncContextModule is imported without options, so it does nothing. Write AsyncContextModule.forRoot() in imports.',
      );
    }
  }

  /**
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid option; the message names the path, the
   * value and the remedy
   */
  static forRoot(options: AsyncContextOptions = {}): DynamicModule {
    const { readOptions } = require('./options-reader') as typeof import('./options-reader');
    readOptions(options);
    noteModule();
    return define([optionsProvider(options)], []);
  }

  /**
   * Like `forRoot()`, with options from a factory, a class or an existing provider.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` unless exactly one of the three is given
   */
  static forRootAsync(options: AsyncContextAsyncOptions): DynamicModule {
    noteModule();
    return define(asyncOptionsProviders(options), options.imports ?? []);
  }
}

function optional(token: Type): OptionalFactoryDependency {
  return { token, optional: true };
}

/** @throws AsyncContextError `ASYNC_CONTEXT_OTHER_NEST` if the application runs on another copy of Nest */
function runtimeOf(
  options: AsyncContextOptions,
  modules: ModulesContainer | undefined,
  host: HttpAdapterHost | undefined,
  config: ApplicationConfig | undefined,
): ApplicationRuntime {
  if (modules === undefined || host === undefined || config === undefined) throw otherNest();
  const { AsyncContextRuntime } = require('./runtime') as typeof import('./runtime');
  return AsyncContextRuntime.of(options, modules, host, config);
}

function define(options: Provider[], imports: NonNullable<DynamicModule['imports']>): DynamicModule {
  return {
    module: AsyncContextModule,
    global: true,
    imports,
    providers: [...options, ...PROVIDERS],
    exports: [ContextService, ProcessFigures, ResourceMonitor, GUARD_KIT],
  };
}
