import { oncePerProcess } from '../../kernel/once-per-process';
import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { AcquisitionHandle } from '../../cost/query-handle';
import { loadedCopies } from '../../kernel/loaded-copies';
import { isReplaced, replaceMethod, replaceMethods } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';

const NAME = 'tarn';

type Acquire = (this: Pool, ...args: unknown[]) => PendingAcquire;
type Release = (this: Pool, resource: unknown) => boolean;

interface PendingAcquire {
  promise: Promise<unknown>;
}

interface Pool {
  readonly max: number;
  numFree(): number;
}

/** What asks a pool may be covered by another copy of the package than the pool. */
const shared = oncePerProcess('tarn', () => ({ isWatchedAbove: false }));

/** Runs what asks a pool for a connection on behalf of a call that has its own wait. */
export function watchedAbove<T>(fn: () => T): T {
  shared.isWatchedAbove = true;
  try {
    return fn();
  } finally {
    shared.isWatchedAbove = false;
  }
}

/** What `tarnInstrumentation()` of the package installs. */
export function tarnInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = loadedCopies(NAME, 'dist/Pool.js').flatMap(copy => cover(copy, reporter));
      return takingBack(undo);
    },
  };
}

function cover(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = (copy as { Pool: { prototype: object } }).Pool;
  const undoRelease = replaceMethod<Release>(prototype, 'release', original => {
    return function release(resource) {
      if (isObject(resource)) reporter.released(resource);
      return original.call(this, resource);
    };
  });
  if (!isReplaced(prototype, 'release')) return [];
  return [
    ...undoRelease,
    ...replaceMethods<Acquire>([prototype], 'acquire', original => {
      return function acquire(...args) {
        const acquisition = shared.isWatchedAbove
          ? undefined
          : reporter.beginAcquisition(this, this.max, acquire);
        if (acquisition === undefined) return original.apply(this, args);
        if (this.numFree() === 0) acquisition.queued();
        const pending = original.apply(this, args);
        pending.promise = settle(pending.promise, acquisition);
        return pending;
      };
    }),
  ];
}

function settle(promise: Promise<unknown>, acquisition: AcquisitionHandle): Promise<unknown> {
  return promise.then(
    resource => {
      if (isObject(resource)) acquisition.acquired(resource);
      return resource;
    },
    (error: unknown) => {
      acquisition.failed();
      throw error;
    },
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
