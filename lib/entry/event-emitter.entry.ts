import 'reflect-metadata';
import { coverMethod } from '../units/covered-method';
import { namedMethodsOf } from '../kernel/methods';

/** What `@OnEvent()` of `@nestjs/event-emitter` writes on a method. */
const LISTENERS = 'EVENT_LISTENER_METADATA';

interface Listened {
  readonly event: unknown;
}

/** Gives each call of a listener a unit of work of its own, whose parent is that of the emitter. */
export function coverListeners(prototype: object): void {
  for (const [key, method] of namedMethodsOf(prototype)) {
    const listened: unknown = Reflect.getMetadata(LISTENERS, method);
    if (listened === undefined) continue;
    const events = [listened as Listened | readonly Listened[]].flat().map(nameOf);
    const route = `event:${events.join('|')}`;
    coverMethod(prototype, key, (_, caller) => ({ route, caller }));
  }
}

/** An event may be a list of its parts. */
function nameOf({ event }: Listened): string {
  return [event].flat().map(String).join('.');
}
