import 'reflect-metadata';
import type { CanActivate, ExecutionContext, Type } from '@nestjs/common';

/** Nest's metadata of `@UseGuards()`; guards of a class run before those of its methods. */
const GUARDS = '__guards__';

/** The names of the guards of a handler that run after one, which is one of them or of the application. */
export function guardsBehind(guard: Type, execution: ExecutionContext): string[] {
  const guards = [...guardsOf(execution.getClass()), ...guardsOf(execution.getHandler())];
  return guards
    .slice(guards.indexOf(guard) + 1)
    .filter(other => other !== guard)
    .map(other => (typeof other === 'function' ? other.name : other.constructor.name));
}

function guardsOf(target: object): readonly (Type | CanActivate)[] {
  return (Reflect.getMetadata(GUARDS, target) as (Type | CanActivate)[] | undefined) ?? [];
}
