import 'reflect-metadata';
import { types } from 'node:util';
import type { TracedCall } from '../../cost/call-trace';
import { beginCall, currentTrace, type Method, runInCall, setOnStack } from './current-call';

/** Own properties of a function that are not the method's, but the wrapper's. */
const OF_THE_FUNCTION: readonly PropertyKey[] = ['prototype', 'arguments', 'caller'];

/**
 * A function in the place of a method, which counts its calls and gives back what the method does.
 *
 * @param name of the method in the trace
 */
export function tracedMethod(name: string, prototype: object, key: string, method: Method): Method {
  const isAsync = types.isAsyncFunction(method) && !types.isGeneratorFunction(method);
  // One frame for a call, and no more: a method that calls itself must get nearly as deep as before.
  const traced: Method = function (...args) {
    // Read each time: a test, or an instrumentation, may have replaced the method since.
    const current = (prototype as Record<string, Method>)[key]!;
    const trace = currentTrace();
    if (trace === undefined) return current.apply(this, args);
    const isNative = isAsync && current === method;
    const call = beginCall(trace, name);
    const outer = setOnStack(call);
    let hasFailed = true;
    try {
      const result = isNative ? runInCall(call, () => current.apply(this, args)) : current.apply(this, args);
      hasFailed = false;
      if (isNative) return settle(call, result as Promise<unknown>);
      // A promise is given back as it is and never touched: `then()` would mark its rejection as
      // handled, and nobody would hear of one that the application has forgotten.
      call.giveBack(result);
      return result;
    } finally {
      setOnStack(outer);
      // Not `catch` and `throw`: an uncaught error would be shown at the line that throws it again.
      if (hasFailed) call.end(true);
    }
  };
  return imitate(traced, method);
}

/** A native async function makes a promise for each call: one that settles alike is as good. */
function settle(call: TracedCall, promise: Promise<unknown>): Promise<unknown> {
  const settled = promise.then(
    value => {
      call.end(false);
      return value;
    },
    error => {
      call.end(true);
      throw error;
    },
  );
  call.pend(settled);
  return settled;
}

/** Name, length, metadata, and what else the method has: `mock` of a spy, for one. */
function imitate(traced: Method, method: Method): Method {
  for (const key of Reflect.ownKeys(method)) {
    if (OF_THE_FUNCTION.includes(key)) continue;
    Object.defineProperty(traced, key, Object.getOwnPropertyDescriptor(method, key)!);
  }
  for (const key of Reflect.getMetadataKeys(method) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, method), traced);
  }
  return traced;
}
