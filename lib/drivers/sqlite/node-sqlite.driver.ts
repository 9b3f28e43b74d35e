import type { DriverInstrumentation } from '../../instrumentation/driver-instrumentation';
import { takingBack } from '../../kernel/take-back';
import { markStatements } from './sqlite-place';
import { countStatements, countTexts } from './sqlite-statement';

interface Statement {
  readonly sourceSQL: string;
}

interface Sqlite {
  readonly DatabaseSync: { readonly prototype: object };
  readonly StatementSync: { readonly prototype: object };
}

/** What Node keeps of the modules that it has loaded; not documented, and there in all versions. */
interface Process {
  readonly moduleLoadList?: readonly string[];
  readonly getBuiltinModule?: (name: string) => unknown;
}

/** What `nodeSqliteInstrumentation()` of the package installs. */
export function nodeSqliteInstrumentation(): DriverInstrumentation {
  return {
    name: 'node:sqlite',
    install(reporter) {
      const sqlite = loadedSqlite();
      if (sqlite === undefined) return undefined;
      const undo = [
        ...countStatements<Statement>(sqlite.StatementSync.prototype, reporter, ({ sourceSQL }) => sourceSQL),
        ...markStatements(sqlite.DatabaseSync.prototype),
        ...countTexts(sqlite.DatabaseSync.prototype, 'exec', reporter),
      ];
      return takingBack(undo);
    },
  };
}

/** Only if the application has loaded it: that prints a warning where it is experimental. */
function loadedSqlite(): Sqlite | undefined {
  const { moduleLoadList, getBuiltinModule } = process as Process;
  if (moduleLoadList?.includes('NativeModule sqlite') !== true) return undefined;
  return getBuiltinModule?.('node:sqlite') as Sqlite | undefined;
}
