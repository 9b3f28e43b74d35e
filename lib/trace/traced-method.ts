import 'reflect-metadata';
import { types } from 'node:util';
import type { CallTrace } from '../cost/call-trace';
import { beginCall, currentTrace, type Method, runInCall, runOnStack } from './current-call';

/** Own properties of a function that are not the method's, but the wrapper's. */
const OF_THE_FUNCTION: readonly PropertyKey[] = ['prototype', 'arguments', 'caller'];

/**
 * A function in the place of a method, which counts its calls and gives back what the method does.
 *
 * @param call name of the method in the trace
 */
export function tracedMethod(call: string, prototype: object, key: string, method: Method): Method {
  const isAsync = types.isAsyncFunction(method) && !types.isGeneratorFunction(method);
  const traced: Method = function (...args) {
    // Read each time: a test, or an instrumentation, may have replaced the method since.
    const current = (prototype as Record<string, Method>)[key]!;
    const trace = currentTrace();
    if (trace === undefined) return current.apply(this, args);
    return isAsync && current === method
      ? callAsync(trace, call, method, this, args)
      : callPlain(trace, call, current, this, args);
  };
  return imitate(traced, method);
}

/** A native async function makes a promise for each call: one that settles alike is as good. */
function callAsync(trace: CallTrace, name: string, method: Method, self: unknown, args: unknown[]): unknown {
  const call = beginCall(trace, name);
  const promise = runInCall(call, method, self, args) as Promise<unknown>;
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

/**
 * Any other promise is given back as it is and never touched: `then()` would mark its rejection as
 * handled, and nobody would hear of one that the application has forgotten.
 */
function callPlain(trace: CallTrace, name: string, method: Method, self: unknown, args: unknown[]): unknown {
  const call = beginCall(trace, name);
  let hasFailed = true;
  try {
    const result = runOnStack(call, method, self, args);
    hasFailed = false;
    call.giveBack(result);
    return result;
  } finally {
    // Not `catch` and `throw`: an uncaught error would be shown at the line that throws it again.
    if (hasFailed) call.end(true);
  }
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
