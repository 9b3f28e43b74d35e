import type { Observable } from 'rxjs';
import { whereSubscribed } from './subscriber-context';

interface Buffered {
  /** What `@GrpcStreamMethod()` calls once the handler has subscribed. */
  readonly drainBuffer?: () => void;
}

/** The stream of messages that a handler of gRPC is given: they come in the context of the connection. */
export function arrivingStream(source: Observable<unknown>): Observable<unknown> {
  const inside = whereSubscribed(source);
  const { drainBuffer } = source as Buffered;
  if (drainBuffer !== undefined) Object.defineProperty(inside, 'drainBuffer', { value: drainBuffer });
  return inside;
}
