import 'reflect-metadata';
import type { ExecutionContext, Type } from '@nestjs/common';

type AnyDecorator = ClassDecorator & MethodDecorator;

/** What a decorator says of a handler, and where it says so. */
export interface Declaration<T> {
  readonly value: T;
  /** `OrdersController.list` or `OrdersController`. */
  readonly where: string;
}

/** What one kind of decorator has declared on handlers and their classes: that of the method goes first. */
export class Declared<T> {
  readonly #key: string;
  /** By method and class: metadata is never read again while serving. */
  readonly #found = new WeakMap<Function, WeakMap<Type, Declaration<T> | typeof NOTHING>>();

  /** @param name one for all copies of the package */
  constructor(name: string) {
    this.#key = `nestjs-async-context:${name}`;
  }

  /** @param read checks what is declared; what it throws ends the start */
  decorate(read: (where: string) => T): AnyDecorator {
    return ((target: object, method?: string | symbol, descriptor?: PropertyDescriptor) => {
      const where = describeTarget(target, method);
      const on: object = (descriptor?.value as object | undefined) ?? target;
      Reflect.defineMetadata(this.#key, { value: read(where), where }, on);
    }) as AnyDecorator;
  }

  of(execution: Pick<ExecutionContext, 'getHandler' | 'getClass'>): Declaration<T> | undefined {
    const method = execution.getHandler();
    const type = execution.getClass<unknown>() as Type;
    let ofMethod = this.#found.get(method);
    if (ofMethod === undefined) this.#found.set(method, (ofMethod = new WeakMap()));
    let found = ofMethod.get(type);
    if (found === undefined) ofMethod.set(type, (found = this.#read(method) ?? this.#read(type) ?? NOTHING));
    return found === NOTHING ? undefined : found;
  }

  #read(target: object): Declaration<T> | undefined {
    return Reflect.getMetadata(this.#key, target) as Declaration<T> | undefined;
  }
}

const NOTHING = Symbol('nothing declared');

function describeTarget(target: object, method: string | symbol | undefined): string {
  if (method === undefined) return (target as { name: string }).name;
  const owner = typeof target === 'function' ? target.name : target.constructor.name;
  return `${owner}.${String(method)}`;
}
