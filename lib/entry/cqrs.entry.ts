import 'reflect-metadata';
import type { Observable } from 'rxjs';
import { tap } from 'rxjs';
import { oncePerProcess } from '../kernel/once-per-process';
import { coverMethod, type Method, standIn } from '../units/covered-method';

/** What the decorators of `@nestjs/cqrs` write on a class. */
const COMMAND = '__commandHandler__';
const QUERY = '__queryHandler__';
const EVENTS = '__eventsHandler__';
const SAGAS = '__saga__';

/** Commands of sagas: whoever has published the event does not await them. */
const ofSagas = oncePerProcess('sagas.commands', () => new WeakSet<object>());

/**
 * Gives each call of a handler a unit of work of its own. A command and a query are a part of the unit of
 * work that awaits them; an event, and a command of a saga, have the one that they come from as parent.
 */
export function coverHandlers(prototype: object): void {
  const { constructor: type } = prototype;
  for (const [metadata, kind] of [
    [COMMAND, 'command'],
    [QUERY, 'query'],
  ] as const) {
    if (!Reflect.hasMetadata(metadata, type)) continue;
    coverMethod(prototype, 'execute', (subject, caller) => ({
      route: `${kind}:${nameOf(subject)}`,
      caller,
      isAwaited: !ofSagas.has(subject as object),
    }));
  }
  if (Reflect.hasMetadata(EVENTS, type)) {
    coverMethod(prototype, 'handle', (subject, caller) => ({ route: `event:${nameOf(subject)}`, caller }));
  }
  for (const key of (Reflect.getMetadata(SAGAS, type) ?? []) as PropertyKey[]) coverSaga(prototype, key);
}

const covered = oncePerProcess('sagas', () => new WeakSet<object>());

/** Remembers the commands that a saga gives. */
function coverSaga(prototype: object, key: PropertyKey): void {
  const method: unknown = (prototype as Record<PropertyKey, unknown>)[key];
  if (typeof method !== 'function' || covered.has(method)) return;
  const saga: Method = function (...args) {
    const commands = (method as Method).apply(this, args) as Observable<unknown> | undefined;
    // By its own `pipe()`, so that it stays one of the rxjs that it is of.
    if (typeof commands?.pipe !== 'function') return commands;
    return commands.pipe(
      tap(command => void (typeof command === 'object' && command !== null && ofSagas.add(command))),
    );
  };
  covered.add(standIn(saga, method as Method));
  Object.defineProperty(prototype, key, {
    value: saga,
    writable: true,
    configurable: true,
    enumerable: false,
  });
}

function nameOf(subject: unknown): string {
  try {
    return (subject as object | undefined)?.constructor?.name ?? typeof subject;
  } catch {
    // A getter of the application.
    return typeof subject;
  }
}
