import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import { loadedAddons, loadedCopies } from '../../kernel/loaded-copies';
import { isReplaced, replaceMethod } from '../../kernel/method-replacement';
import { takeBack, takingBack } from '../../kernel/take-back';
import { countStatements, countTexts } from './sqlite-statement';

const NAME = 'better-sqlite3';

interface Statement {
  readonly source: string;
}

type Prepare = (this: object, ...args: unknown[]) => Statement;

/** What `betterSqlite3Instrumentation()` of the package installs. */
export function betterSqlite3Instrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = [
        ...loadedAddons(NAME).flatMap(addon => coverAddon(addon, reporter)),
        ...loadedCopies(NAME, 'lib/index.js').flatMap(copy => cover(copy, reporter)),
      ];
      return takingBack(undo);
    },
  };
}

/** Once a database has been opened, native code is loaded, and may have made statements that are kept for long. */
function coverAddon(addon: unknown, reporter: QueryReporter): (() => void)[] {
  const { Statement: { prototype } = {} } = addon as { Statement?: { prototype?: object } };
  return prototype === undefined ? [] : countStatements<Statement>(prototype, reporter, textOf);
}

function cover(copy: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = copy as { prototype: object };
  const undo = [...countTexts(prototype, 'exec', reporter)];
  // Before the first database is opened, there is no class of statements: its first one shows it.
  const learn = replaceMethod<Prepare>(prototype, 'prepare', original => {
    return function prepare(...args) {
      const statement = original.apply(this, args);
      const statements = Object.getPrototypeOf(statement) as object;
      if (!isReplaced(statements, 'run', 'own')) {
        undo.push(...countStatements<Statement>(statements, reporter, textOf));
      }
      return statement;
    };
  });
  undo.push(...learn);
  return undo.length === 0 ? [] : [() => takeBack(undo)];
}

const textOf = ({ source }: Statement): string => source;
