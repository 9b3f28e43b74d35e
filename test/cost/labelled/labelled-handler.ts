import type { IdKind } from './ids';
import type { Shop } from './shop';

export type Client =
  | 'pg'
  | 'postgres'
  | 'TypeORM'
  | 'Drizzle'
  | 'Kysely'
  | 'Knex'
  | 'Sequelize'
  | 'MikroORM'
  | 'Prisma'
  | 'mysql2'
  | 'mariadb'
  | 'better-sqlite3'
  | 'mongodb'
  | 'Mongoose'
  | 'redis';

/** What a request asks for. */
export interface ListRequest {
  /** How long its list is. */
  readonly size: number;
  /** Which request of its handler it is, from 0 on. */
  readonly turn: number;
}

/** A statement that repeats, and for each row of what. */
export interface Label {
  /** What may be named; '' is for a statement of no table. */
  readonly tables: readonly string[];
  /** For each parent the columns that are right, as `table.column`. */
  readonly parents: readonly (readonly string[])[];
}

interface Body {
  /** A handler as somebody writes it; `size` is the length of its list. */
  run(shop: Shop, request: ListRequest): Promise<unknown>;
  /** The kinds of ids that it makes sense with; all by default. */
  readonly ids?: readonly IdKind[];
}

/** One handler of the set. */
export interface LabelledHandler extends Body {
  readonly name: string;
  /** What is hard about it. */
  readonly kind: string;
  readonly client: Client;
  /** Its N+1; an innocent one has none. */
  readonly repeats: readonly Label[];
  /** Requests in which it has none, where that differs. */
  readonly quiet?: (request: ListRequest) => boolean;
  /** A table that it asks one by one for keys that come from nowhere: true, and no N+1. */
  readonly lookUps?: string;
  /** Tables whose repeats may be called N+1 or not: the label is a matter of taste. */
  readonly undecided?: readonly string[];
}

/**
 * `nPlusOne('items', 'orders.id')`: items for each order. Where two columns are right, as with a chain,
 * whose last link comes from the one before or from the list: `'customers.country_id or orders.buyer_id'`.
 * Of a table so too, where `nothing` stands for none.
 */
export function nPlusOne(table: string, ...parents: string[]): Label {
  return {
    tables: table.split(' or ').map(name => (name === 'nothing' ? '' : name)),
    parents: parents.map(parent => parent.split(' or ')),
  };
}

type Guilty = Body & Pick<LabelledHandler, 'repeats' | 'quiet'>;
type Innocent = Body & Pick<LabelledHandler, 'lookUps' | 'undecided'>;

/** True N+1 of one kind, by name. */
export function guilty(kind: string, client: Client, bodies: Record<string, Guilty>): LabelledHandler[] {
  return Object.entries(bodies).map(([name, body]) => ({
    ...body,
    name: nameOf(client, name),
    kind,
    client,
  }));
}

/** Handlers of one kind without an N+1, by name. */
export function innocent(
  kind: string,
  client: Client,
  bodies: Record<string, Innocent | Innocent['run']>,
): LabelledHandler[] {
  return Object.entries(bodies).map(([name, body]) => ({
    ...(typeof body === 'function' ? { run: body } : body),
    name: nameOf(client, name),
    kind,
    client,
    repeats: [],
  }));
}

function nameOf(client: Client, name: string): string {
  return client === 'pg' ? name : `${client}: ${name}`;
}

/** One after the other. */
export async function each<T>(rows: Iterable<T>, work: (row: T) => Promise<unknown>): Promise<void> {
  for (const row of rows) await work(row);
}

export function chunks<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));
}
