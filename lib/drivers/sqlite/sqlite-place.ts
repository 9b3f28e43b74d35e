import { sharedName } from '../../kernel/protocol';
import { replaceMethod } from '../../kernel/method-replacement';

/** On a statement of `node:sqlite`, which does not know whose it is. */
const DATABASE = Symbol.for(sharedName('sqlite-database'));

/** Those of `better-sqlite3` know whose they are. */
interface OfDatabase {
  readonly database: object;
  readonly [DATABASE]: object;
}

/** Has the statements of a database know whose they are. */
export function markStatements(prototype: object): (() => void)[] {
  return replaceMethod<(this: object, ...args: unknown[]) => object>(prototype, 'prepare', original => {
    return function prepare(...args) {
      return Object.defineProperty(original.apply(this, args), DATABASE, { value: this, configurable: true });
    };
  });
}

/** The database of a statement, where that is known. */
export function placeOf(statement: Partial<OfDatabase>): object | undefined {
  return statement.database ?? statement[DATABASE];
}
