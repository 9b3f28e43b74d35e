import { isObservable, Observable, type Observer, type Subscriber } from 'rxjs';
import { contextStorage } from '../context/context-storage';
import type { Captured } from '../context/context-store';
import type { RequestContext } from '../context/request-context';
import { isThenable } from '../kernel/thenable';
import { runAndNote } from '../context/thrown-context';

type Close = (context: RequestContext) => void;

const MAX_ERROR_NAME = 200;

/** Remembers the class of an error, never its text: that may hold anything. */
export function noteError(context: RequestContext, error: unknown): void {
  context.error ??= classOf(error);
}

// Both names are the application's, or those of who sent the error: of any length, or with a getter.
function classOf(error: unknown): string {
  try {
    if (!(error instanceof Error)) return typeof error;
    const names: unknown[] = [error.constructor.name, error.name];
    const name = names.find(candidate => typeof candidate === 'string' && candidate !== '');
    return (name as string | undefined)?.slice(0, MAX_ERROR_NAME) ?? 'Error';
  } catch {
    return 'Error';
  }
}

/** The same stream, whose error is noted. */
export function noteErrorsOf<T>(context: RequestContext, source: Observable<T>): Observable<T> {
  return new Observable<T>(subscriber => source.subscribe(passTo(subscriber, context)));
}

/** The same stream, subscribed and unsubscribed inside the context; a teardown goes on to the producer. */
export function observeInside<T>(
  context: RequestContext,
  source: Observable<T>,
  close?: Close,
  captured: Captured = context,
): Observable<T> {
  return new Observable<T>(subscriber => {
    const subscription = contextStorage.run(captured, () => source.subscribe(passTo(subscriber, context)));
    return () => {
      // A client that leaves unsubscribes in the context of its socket.
      try {
        contextStorage.run(context, () => subscription.unsubscribe());
      } finally {
        close?.(context);
      }
    };
  });
}

function passTo<T>(subscriber: Subscriber<T>, context: RequestContext): Observer<T> {
  return {
    next: value => subscriber.next(value),
    error: error => {
      noteError(context, error);
      subscriber.error(error);
    },
    complete: () => subscriber.complete(),
  };
}

/**
 * Runs a transport's handler inside its context and closes it when the result has settled:
 * a value at once, a promise when it does, a stream when it ends or is unsubscribed.
 *
 * @param isSubscribed whether somebody is sure to subscribe to a stream; otherwise it is a value like any other
 */
export function runToEnd<T>(context: RequestContext, work: () => T, close: Close, isSubscribed = true): T {
  // A part answers for the whole.
  const captured = context.outer === undefined ? context : contextStorage.alike(context);
  let result: T;
  try {
    result = runAndNote(captured, work);
  } catch (error) {
    noteError(context, error);
    close(context);
    throw error;
  }
  return settle(context, captured, result, close, isSubscribed) as T;
}

function settle(
  context: RequestContext,
  captured: Captured,
  result: unknown,
  close: Close,
  isSubscribed: boolean,
): unknown {
  if (isThenable(result)) return whenSettled(context, captured, result, close, isSubscribed);
  if (isSubscribed && isStream(result)) return observeInside(context, result, close, captured);
  close(context);
  return result;
}

// `then` is called inside: a lazy query builder starts its query here.
function whenSettled(
  context: RequestContext,
  captured: Captured,
  result: PromiseLike<unknown>,
  close: Close,
  isSubscribed: boolean,
): Promise<unknown> {
  return contextStorage.run(captured, () =>
    Promise.resolve(result).then(
      value => settle(context, captured, value, close, isSubscribed),
      (error: unknown) => {
        noteError(context, error);
        close(context);
        throw error;
      },
    ),
  );
}

function isStream(value: unknown): value is Observable<unknown> {
  try {
    return isObservable(value);
  } catch {
    return false;
  }
}
