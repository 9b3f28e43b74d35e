import type { Provider, Type } from '@nestjs/common';
import { AsyncContextError } from '../kernel/errors';
import { checkObject } from '../kernel/option-checks';
import type { AsyncContextAsyncOptions, AsyncContextOptions, AsyncContextOptionsFactory } from './options';

/** Injection token of the options as the application gave them. */
export const ASYNC_CONTEXT_OPTIONS = Symbol('ASYNC_CONTEXT_OPTIONS');

const ASYNC_OPTIONS = ['imports', 'inject', 'useFactory', 'useClass', 'useExisting'] as const;

/** What provides the options that are known at once. */
export function optionsProvider(options: AsyncContextOptions): Provider {
  return { provide: ASYNC_CONTEXT_OPTIONS, useValue: options };
}

/** What provides the options of a factory, a class, or a provider that exists. */
export function asyncOptionsProviders(options: AsyncContextAsyncOptions): Provider[] {
  checkObject('', options, ASYNC_OPTIONS, 'AsyncContextModule.forRootAsync');
  const { inject = [], useFactory, useClass, useExisting } = options;
  const given = [useFactory, useClass, useExisting].filter(use => use !== undefined);
  if (given.length !== 1) {
    throw new AsyncContextError(
      'ASYNC_CONTEXT_INVALID_OPTION',
      `AsyncContextModule.forRootAsync() has ${given.length === 0 ? 'none' : given.length} of useFactory, useClass ` +
        'and useExisting. Give exactly one, such as useFactory: () => ({ budget: 100 }).',
    );
  }
  if (useFactory !== undefined) {
    return [
      { provide: ASYNC_CONTEXT_OPTIONS, inject, useFactory: useFactory as (...args: unknown[]) => unknown },
    ];
  }
  const factory = useExisting ?? (useClass as Type<AsyncContextOptionsFactory>);
  return [
    ...(useClass === undefined ? [] : [{ provide: useClass, useClass }]),
    {
      provide: ASYNC_CONTEXT_OPTIONS,
      inject: [factory],
      useFactory: (maker: AsyncContextOptionsFactory) => maker.createAsyncContextOptions(),
    },
  ];
}
