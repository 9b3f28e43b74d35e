import { sharedName } from '../kernel/protocol';
import { hashParameters, hashText, mixSeed } from './parameter-hash';
import { RecentMap } from '../kernel/recent-map';
import { BEGINS, ENDS, RESETS, SETS, SETS_LOCALLY } from './statement-effects';

/** On a connection or a pool, for as long as it lives. */
const SLOT = Symbol.for(sharedName('place'));

/** Where the objects of drivers keep what they are connected to, and as who. */
const HOLDERS = [
  'connectionParameters',
  'options',
  'config',
  'opts',
  'connOptions',
  'connectionConfig',
  'authentication',
];
const FIELDS = ['host', 'server', 'socketPath', 'port', 'database', 'user', 'userName', 'schema', 'address'];
const MAX_DEPTH = 3;

interface Placed {
  [SLOT]?: SessionPlace;
}

/** For those that nothing can be written on. */
const others = new WeakMap<object, SessionPlace>();
/** What stands for the databases that were asked last: one for each tenant, say. */
const databases = new RecentMap<object>(1_000);
let last = 0;

/**
 * Where a statement is asked: of which database, as who, and in which state of the session. The same question is
 * another one in another place, such as the schema of another tenant.
 */
export class SessionPlace {
  /** What the parameters of its statements are compared with. */
  seed: number;
  /** What stands for the database, and who asks it, for all of its connections; absent where that is not known. */
  readonly database: object | undefined;
  readonly #target: number;
  #settings = 0;
  #transaction = 0;

  constructor(target: number, database?: object) {
    this.#target = target;
    this.database = database;
    this.seed = this.#mixed();
  }

  /**
   * Takes over what a statement does to the session, as `statement-effects.ts` says it.
   *
   * Sessions that have been set up in the same way are one place; what a transaction sees is its own.
   */
  note(effects: number, text: string, parameters: unknown): void {
    if ((effects & RESETS) !== 0) {
      this.#settings = 0;
      this.#transaction = 0;
    }
    if ((effects & SETS) !== 0) {
      const hash = hashText(text);
      const change = hash === undefined ? undefined : hashParameters(parameters, hash);
      this.#settings = mixSeed(this.#settings, change ?? (last += 1));
    }
    if ((effects & (BEGINS | SETS_LOCALLY)) !== 0) this.#transaction = last += 1;
    if ((effects & ENDS) !== 0) this.#transaction = 0;
    this.seed = this.#mixed();
  }

  #mixed(): number {
    return mixSeed(mixSeed(this.#target, this.#settings), this.#transaction);
  }
}

/** The place that a connection is in, or that the connections of a pool are in. */
export function placeOf(on: object): SessionPlace {
  return (on as Placed)[SLOT] ?? others.get(on) ?? watch(on);
}

/** Says that a checkout is in the place of its pool. */
export function standsFor(acquisition: object, pool: object): void {
  (acquisition as Placed)[SLOT] = placeOf(pool);
}

function watch(on: object): SessionPlace {
  const target = targetOf(on);
  const place =
    target === undefined ? new SessionPlace((last += 1)) : new SessionPlace(target, databaseOf(target));
  try {
    // Not enumerable: the application may log its connections, or compare them.
    Object.defineProperty(on, SLOT, { value: place, configurable: true });
  } catch {
    others.set(on, place);
  }
  return place;
}

function databaseOf(target: number): object {
  const key = String(target);
  let database = databases.get(key);
  if (database === undefined) databases.set(key, (database = {}));
  return database;
}

/** The same number for what is connected to the same database as the same user; `undefined` where that is not known. */
function targetOf(on: object): number | undefined {
  try {
    const found = new Map<string, string>();
    collect(on, found, 0);
    if (found.size > 0) return hashText([...found].sort().join('\n'));
  } catch {
    // A getter of the driver's that throws.
  }
  return undefined;
}

function collect(from: object, found: Map<string, string>, depth: number): void {
  const values = from as Readonly<Record<string, unknown>>;
  const url = values['connectionString'];
  if (typeof url === 'string') collectUrl(url, found);
  for (const field of FIELDS) {
    const value = values[field];
    if (typeof value === 'string' || typeof value === 'number') add(found, field, String(value));
  }
  // The settings that a session of PostgreSQL begins with.
  const options = values['options'];
  if (typeof options === 'string' && options !== '') add(found, 'options', options);
  if (depth === MAX_DEPTH) return;
  for (const holder of HOLDERS) {
    const value = values[holder];
    if (typeof value === 'object' && value !== null) collect(value, found, depth + 1);
  }
}

function collectUrl(url: string, found: Map<string, string>): void {
  if (!URL.canParse(url)) {
    add(found, 'url', url);
    return;
  }
  const { hostname, port, pathname, username, searchParams } = new URL(url);
  add(found, 'host', hostname);
  add(found, 'port', port === '' ? '5432' : port);
  add(found, 'database', decodeURIComponent(pathname.slice(1)));
  add(found, 'user', decodeURIComponent(username));
  const options = searchParams.get('options');
  if (options !== null) add(found, 'options', options);
}

function add(found: Map<string, string>, field: string, value: string): void {
  if (value !== '' && !found.has(field)) found.set(field, value);
}
