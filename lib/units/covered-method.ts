import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { ContextHandler, RequestContext } from '../context/request-context';
import type { Handler } from '../handlers/handlers';
import { ownerOf } from './owners';
import { runTask, type TaskStart } from './task-run';

export type Method = (this: object, ...args: unknown[]) => unknown;

/** How a call of a covered method begins. */
export type CallStart = Omit<TaskStart, 'task' | 'handler'>;

/** Says how a call begins; `undefined` for an ordinary one, which stays in the context that it is made in. */
export type StartOfCall = (subject: unknown, caller: RequestContext | undefined) => CallStart | undefined;

/** Those that open a unit of work already: covered ones, and those of `@RunInContext()`. */
const openers = oncePerProcess('openers', () => new WeakSet<object>());

/** Says that a method opens a unit of work by itself. */
export function markOpener(method: object): void {
  openers.add(method);
}

/** Names of methods that do so, by prototype: a decorator above may have put another function in their place. */
const openerNames = oncePerProcess('opener names', () => new WeakMap<object, Set<PropertyKey>>());

/** Says that the method of this name opens a unit of work, whatever is put in its place. */
export function markOpenerName(prototype: object, name: PropertyKey): void {
  const names = openerNames.get(prototype);
  if (names === undefined) openerNames.set(prototype, new Set([name]));
  else names.add(name);
}

/** Whether a call of the method of this name may open a unit of work: an override may call that of its base class. */
export function mayOpenByName(prototype: unknown, name: PropertyKey): boolean {
  for (
    let proto = prototype;
    typeof proto === 'object' && proto !== null;
    proto = Object.getPrototypeOf(proto)
  )
    if (openerNames.get(proto)?.has(name) === true) return true;
  return false;
}

/** Whether a method opens a unit of work by itself. */
export function opensUnitOfWork(method: object): boolean {
  return openers.has(method);
}

/**
 * Runs each call of a method of a class in a unit of work, in the applications that the class is a provider of.
 *
 * On the prototype: Nest makes instances for each request, and looks its decorators up there.
 */
export function coverMethod(prototype: object, key: PropertyKey, startOf: StartOfCall): void {
  const method: unknown = (prototype as Record<PropertyKey, unknown>)[key];
  if (typeof method !== 'function' || openers.has(method)) return;
  const original = method as Method;
  const covered: Method = function (...args) {
    const units = ownerOf(this);
    if (units === undefined) return original.apply(this, args);
    const { constructor: type } = this;
    const [subject] = args;
    const store = contextStorage.getStore();
    const caller = store?.isOf(units) === true ? store : undefined;
    const handler = units.handlers.of(type as Type, key);
    // An overridden method calls that of its base class.
    const task = caller?.task;
    const isSame = task?.type === type && task.key === key && task.subject === subject;
    // Its route may have been asked for, where it is a listener as well.
    const isRoute =
      caller?.isClosed === false && caller.kind !== 'job' && isSameMethod(caller.handler, type, key);
    const isOpen = isSame || isRoute;
    const start = isOpen ? undefined : startOf(subject, caller);
    if (start === undefined) return original.apply(this, args);
    return runTask(units, { ...start, task: { type, key, subject }, handler }, () =>
      original.apply(this, args),
    );
  };
  Object.defineProperty(prototype, key, {
    value: standIn(covered, original),
    writable: true,
    configurable: true,
    enumerable: false,
  });
}

/** Whether a handler is this method of this class, in whichever of the modules that have the class. */
function isSameMethod(handler: ContextHandler | undefined, type: unknown, key: PropertyKey): boolean {
  const { owners, name } = (handler ?? {}) as Partial<Handler>;
  return owners?.controller === type && name === `${(type as Type).name}.${String(key)}`;
}

/** Lets a function be found, called and described as the one that it stands in for. */
export function standIn(wrapped: Method, method: Method): Method {
  for (const key of Reflect.ownKeys(method)) {
    const descriptor = Object.getOwnPropertyDescriptor(method, key)!;
    if (key !== 'prototype' && key !== 'arguments' && key !== 'caller')
      Object.defineProperty(wrapped, key, descriptor);
  }
  for (const key of Reflect.getMetadataKeys(method) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, method), wrapped);
  }
  markOpener(wrapped);
  return wrapped;
}
