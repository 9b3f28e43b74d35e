import type { ModulesContainer } from '@nestjs/core';
import { types } from 'node:util';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { coverHandlers } from './cqrs.entry';
import { coverListeners } from './event-emitter.entry';
import { coverSchedules } from './schedule.entry';
import { coverConnections } from './websocket.entry';

const COVERS = [coverSchedules, coverListeners, coverHandlers, coverConnections] as const;

/**
 * Covers the methods of providers that `@nestjs/schedule`, `@nestjs/event-emitter`, `@nestjs/cqrs` and, of
 * connections, `@nestjs/websockets` call.
 *
 * Called twice: for classes before there is an instance, as a scheduler may look them up before any hook of
 * ours; then for what factories have made.
 */
export function coverProviders(modules: ModulesContainer, hookErrors: HookErrorReporter): void {
  const seen = new Set<unknown>();
  for (const module of modules.values()) {
    for (const { instance, metatype } of [...module.providers.values(), ...module.controllers.values()]) {
      for (const prototype of [
        prototypeOf(metatype),
        types.isProxy(instance) ? undefined : ofInstance(instance),
      ]) {
        if (prototype === undefined || prototype === Object.prototype || seen.has(prototype)) continue;
        seen.add(prototype);
        for (const cover of COVERS) hookErrors.guard('library setup', () => cover(prototype));
      }
    }
  }
}

function prototypeOf(metatype: unknown): object | undefined {
  if (typeof metatype !== 'function') return undefined;
  const { prototype } = metatype as { prototype?: unknown };
  return typeof prototype === 'object' && prototype !== null ? prototype : undefined;
}

function ofInstance(instance: unknown): object | undefined {
  if (typeof instance !== 'object' || instance === null) return undefined;
  return (Object.getPrototypeOf(instance) as object | null) ?? undefined;
}
