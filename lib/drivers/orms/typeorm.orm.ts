import { contextStorage } from '../../context/context-storage';
import { captureStack } from '../../kernel/call-site';
import { runOrmCallFrom } from '../../cost/orm-call';
import type { DriverInstrumentation } from '../../instrumentation/driver-instrumentation';
import { loadedCopies } from '../../kernel/loaded-copies';
import { prototypesOf, replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';

const NAME = 'typeorm';

type Load = (this: unknown, relation: unknown, ...args: unknown[]) => unknown;

/**
 * Notes who reads the lazy relations of TypeORM: the property that loads one is read where the application is on the
 * stack, and its promise has two that wait for it, of which V8 follows none.
 */
export function typeormCalls(): DriverInstrumentation {
  return {
    name: `${NAME} calls`,
    install() {
      const undo = loadedCopies(NAME, 'query-builder/RelationLoader.js').flatMap(copy =>
        prototypesOf((copy as { RelationLoader?: unknown }).RelationLoader).flatMap(cover),
      );
      return takingBack(undo);
    },
  };
}

function cover(prototype: object): (() => void)[] {
  return replaceMethod<Load>(prototype, 'load', original => {
    return function load(relation, ...args) {
      const cost = contextStorage.getStore()?.cost;
      if (typeof relation !== 'object' || relation === null || cost?.takesLoad(relation) !== true)
        return original.call(this, relation, ...args);
      return runOrmCallFrom(captureStack(load), () => original.call(this, relation, ...args));
    };
  });
}
