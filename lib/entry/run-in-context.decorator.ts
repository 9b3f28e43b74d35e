import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import { contextStorage } from '../context/context-storage';
import type { ContextSeed } from '../context/context.service';
import { type Method, standIn } from './covered-method';
import { ownerOf } from './owners';

/**
 * Runs a method in a unit of work of its own: for whatever Nest calls without a request and without one
 * of the libraries whose handlers have one by themselves. Its result, its errors and its metadata stay
 * as they are.
 *
 * @example
 * @RunInContext()
 * async onApplicationBootstrap() {}
 */
export function RunInContext(seed: ContextSeed = {}): MethodDecorator {
  return (_target, _name, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as Method;
    const wrapped: Method = function (...args) {
      const units = ownerOf(this);
      if (units === undefined) return method.apply(this, args);
      const handler = units.handlers.of(this.constructor as Type, wrapped);
      const current = contextStorage.getStore();
      const isOpen = current?.task?.type === this.constructor && current.task.subject === args[0];
      if (!isOpen || current.isClosed || current.application !== units) {
        return units.runSeeded(seed, () => method.apply(this, args), handler);
      }
      // The processor of a job: its worker has opened one.
      units.seed(current, seed, handler);
      return method.apply(this, args);
    };
    descriptor.value = standIn(wrapped, method);
  };
}
