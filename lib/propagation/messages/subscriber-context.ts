import { Observable } from 'rxjs';
import { inContext } from '../../instrumentation/caller-context';

/** The same stream, whose values come in the context of who has subscribed. */
export function whereSubscribed<T>(source: Observable<T>): Observable<T> {
  return new Observable<T>(subscriber =>
    source.subscribe({
      next: inContext((value: T) => subscriber.next(value)),
      error: inContext((error: unknown) => subscriber.error(error)),
      complete: inContext(() => subscriber.complete()),
    }),
  );
}
