import type { Provider, Type } from '@nestjs/common';
import { invalidOption } from '../kernel/errors';
import type { AsyncContextAsyncOptions, AsyncContextOptions, AsyncContextOptionsFactory } from './options';

/** Injection token of the options as the application gave them. */
export const ASYNC_CONTEXT_OPTIONS = Symbol('ASYNC_CONTEXT_OPTIONS');

/** What provides the options that are known at once. */
export function optionsProvider(options: AsyncContextOptions): Provider {
  return { provide: ASYNC_CONTEXT_OPTIONS, useValue: options };
}

/** What provides the options of a factory, a class, or a provider that exists. */
export function asyncOptionsProviders(options: AsyncContextAsyncOptions): Provider[] {
  const { inject = [], useFactory, useClass, useExisting } = options;
  const given = [useFactory, useClass, useExisting].filter(use => use !== undefined);
  if (given.length !== 1) {
    throw invalidOption(
      'forRootAsync',
      given.length,
      'Give exactly one of useFactory, useClass and useExisting.',
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
