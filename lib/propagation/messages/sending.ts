import { Observable } from 'rxjs';
import { replaceMethod } from '../../kernel/method-replacement';
import { whileSending } from './message-scope';
import type { Microservices } from './microservices';
import { whereSubscribed } from './subscriber-context';

type Send = (this: unknown, pattern: unknown, data: unknown) => Observable<unknown>;

/** Where the application sends: its context is looked at here, and given back to it with the answers. */
export function coverSending({ ClientProxy, ClientKafka }: Microservices): (() => void)[] {
  if (ClientProxy === undefined) return [];
  const undo = replaceMethod<Send>(ClientProxy.prototype, 'send', original => {
    return function send(pattern, data) {
      return onSubscription(original.call(this, pattern, data));
    };
  });
  for (const [client, name] of [
    [ClientProxy, 'emit'],
    [ClientKafka, 'emitBatch'],
  ] as const) {
    if (client === undefined) continue;
    const emits = replaceMethod<Send>(client.prototype, name, original => {
      return function emit(pattern, data) {
        return whileSending(() => original.call(this, pattern, data));
      };
    });
    undo.push(...emits);
  }
  return undo;
}

/**
 * The same stream, sent by who subscribes to it. A connection has the context that it was opened in: without
 * this, what follows an answer (`map()`, `retry()`) would be another request's.
 */
export function onSubscription<T>(source: Observable<T>): Observable<T> {
  const answers = whereSubscribed(source);
  return new Observable<T>(subscriber => whileSending(() => answers.subscribe(subscriber)));
}
