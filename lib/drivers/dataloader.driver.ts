import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import type { DriverInstrumentation, QueryReporter } from '../instrumentation/driver-instrumentation';
import { loadedCopies } from '../kernel/loaded-copies';
import { replaceMethod } from '../kernel/method-replacement';
import { takingBack } from '../kernel/take-back';

const CONTEXT = Symbol('nestjs-async-context.batch');

type Load = (this: DataLoader, key: unknown) => unknown;

interface DataLoader {
  /** What is loaded next, and with whom it was begun. */
  readonly _batch?: { [CONTEXT]?: RequestContext | null } | null;
}

/** What `dataloaderInstrumentation()` of the package installs. */
export function dataloaderInstrumentation(): DriverInstrumentation {
  return {
    name: 'dataloader',
    install(reporter) {
      const undo = loadedCopies('dataloader', 'index.js').flatMap(copy => watch(copy, reporter));
      return takingBack(undo);
    },
  };
}

function watch(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = copy as { prototype: object };
  return replaceMethod<Load>(prototype, 'load', original => {
    return function load(key) {
      const result = original.call(this, key);
      const batch = this._batch;
      if (batch === undefined || batch === null) return result;
      const context = contextStorage.getStore() ?? null;
      if (batch[CONTEXT] === undefined) batch[CONTEXT] = context;
      else if (batch[CONTEXT] !== context) reporter.warn(SHARED);
      return result;
    };
  });
}

const SHARED =
  'a DataLoader is shared by several requests: its batch is charged to the first of them, and its cache serves ' +
  'one request the rows of another. Create a DataLoader per request, for example in the GraphQL context';
