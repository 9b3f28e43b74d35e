import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { DriverInstrumentation, QueryReporter } from '../driver-instrumentation';
import { giveModules } from '../given-modules';
import { loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';
import { takingBack } from '../take-back';

const CONTEXT = Symbol('nestjs-async-context.batch');

type Load = (this: DataLoader, key: unknown) => unknown;

interface DataLoader {
  /** What is loaded next, and with whom it was begun. */
  readonly _batch?: { [CONTEXT]?: RequestContext | null } | null;
}

/**
 * Counts nothing: a batch is charged, by its own queries, to the unit of work that scheduled it. Says
 * when a `DataLoader` is shared, so that one unit of work pays for the rows of another, and sees them.
 *
 * @param modules the package as the application has imported it; only a bundle needs it
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for another module
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgInstrumentation(), dataloaderInstrumentation()] });
 */
export function dataloaderInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('dataloader', modules);
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
  'a DataLoader is shared by several requests: its batch is charged to the first of them, and its cache ' +
  'gives one the rows of another. Make a DataLoader for each request, such as in the GraphQL context';
