import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import { contextStorage } from '../context/context-storage';
import type { ContextSeed } from '../context/context.service';
import { checkedSeed } from '../units/checked-seed';
import { markOpenerName, type Method, standIn } from '../units/covered-method';
import { ownerOf } from '../units/owners';

/**
 * Runs a method in its own unit of work: for methods that Nest calls without a request and that do not belong to a
 * library whose handlers are covered already. Result, errors and metadata of the method are unchanged.
 *
 * @example
 * @RunInContext()
 * async onApplicationBootstrap() {}
 */
export function RunInContext(seed: ContextSeed = {}): MethodDecorator {
  return (target, name, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as Method;
    const wrapped: Method = function (...args) {
      const units = ownerOf(this);
      if (units === undefined) return method.apply(this, args);
      const handler = units.handlers.of(this.constructor as Type, name);
      const current = contextStorage.getStore();
      const { type, key, subject } = current?.task ?? {};
      const isOpen = type === this.constructor && key === name && subject === args[0];
      if (current === undefined || !isOpen || current.isClosed || !current.isOf(units)) {
        return units.runSeeded(seed, () => method.apply(this, args), handler);
      }
      // The processor of a job: its worker has opened one.
      const within = units.seed(current, checkedSeed(seed), handler);
      const work = (): unknown => method.apply(this, args);
      return within === undefined ? work() : within(work);
    };
    descriptor.value = standIn(wrapped, method);
    markOpenerName(target, name);
  };
}
