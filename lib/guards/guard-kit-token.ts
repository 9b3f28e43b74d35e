import type { ExecutionContext } from '@nestjs/common';
import { sharedName } from '../kernel/protocol';

/** Nest injects the kit under it, the same for all copies of the package. The kit itself is loaded with an application. */
export const GUARD_KIT = Symbol.for(sharedName('guards'));

/** `OrdersController.list` */
export function nameOf(execution: ExecutionContext): string {
  return `${execution.getClass().name}.${execution.getHandler().name}`;
}
