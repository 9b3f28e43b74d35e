import 'reflect-metadata';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { Observable } from 'rxjs';
import { contextStorage } from '../context/context-storage';
import { ownerAmong } from '../units/owners';
import { noteErrorsOf } from '../units/settle';
import { UnitsOfWork } from '../units/units-of-work';

/** What `@UseInterceptors()` writes on a class, and what `@WebSocketGateway()` marks it with. */
const INTERCEPTORS = '__interceptors__';
const GATEWAY = 'websockets:is_gateway';

/** Says which method of a gateway took a message. It has no state: two applications may share a class. */
const gatewayInterceptor: NestInterceptor = {
  intercept(execution: ExecutionContext, next: CallHandler): Observable<unknown> {
    const context = contextStorage.getStore();
    if (context?.kind !== 'websocket') return next.handle();
    const type = execution.getClass();
    const units = ownerAmong(context.sharedBy ?? [context.application], type);
    if (!(units instanceof UnitsOfWork)) return next.handle();
    units.setHandler(context, units.handlers.ofMethod(type, execution.getHandler()));
    return noteErrorsOf(context, next.handle());
  },
};

/** Puts the interceptor on the gateways themselves: Nest 11 does not apply global ones to them. */
export function interceptGateways(modules: ModulesContainer): void {
  for (const module of modules.values()) {
    for (const { metatype } of module.providers.values()) {
      if (typeof metatype !== 'function' || !Reflect.hasMetadata(GATEWAY, metatype)) continue;
      const known = (Reflect.getMetadata(INTERCEPTORS, metatype) ?? []) as readonly unknown[];
      if (known.includes(gatewayInterceptor)) continue;
      Reflect.defineMetadata(INTERCEPTORS, [gatewayInterceptor, ...known], metatype);
    }
  }
}
