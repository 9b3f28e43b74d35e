import { invalidBudget, type AsyncContextError } from '../async-context.errors';
import type { BudgetExemption, BudgetLimits, IgnoredRepeat } from './budget';

/** Everything that a limit can be set for by its name alone. */
export const DIMENSIONS = [
  'queries',
  'rows',
  'durationMs',
  'writes',
  'repeats',
  'cache',
  'http',
  'messages',
  'loopBlockMs',
  'remoteQueries',
  'remoteRows',
] as const satisfies readonly (keyof BudgetLimits)[];
const DAY = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/;
const MS_PER_DAY = 86_400_000;
const REMEDY = 'Use a whole number from 0 to 9,007,199,254,740,991, or leave it out for no limit.';

const MAX_OWNER_LENGTH = 100;
const LAST_DAY = 'Give the last day that it counts as YYYY-MM-DD.';

type Fail = (path: string, value: unknown, remedy: string) => AsyncContextError;

/** Checks limits as somebody wrote them; a number is short for `{ queries: number }`. */
export function readLimits(value: unknown, fail: Fail, also: readonly string[] = []): BudgetLimits {
  if (typeof value === 'number') return { queries: readLimit(value, 'queries', fail) };
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fail(
      'budget',
      value,
      'Use a number of queries, or an object such as { queries: 100, rows: 10_000 }.',
    );
  }
  for (const name of Object.keys(value)) {
    if (
      name === 'perTable' ||
      name === 'owner' ||
      also.includes(name) ||
      (DIMENSIONS as readonly string[]).includes(name)
    )
      continue;
    throw fail(
      name,
      (value as Record<string, unknown>)[name],
      `There is no such dimension: use ${DIMENSIONS.join(', ')}, perTable or owner.`,
    );
  }
  const limits: { -readonly [K in keyof BudgetLimits]: BudgetLimits[K] } = {};
  for (const dimension of DIMENSIONS) {
    const limit = (value as Record<string, unknown>)[dimension];
    if (limit !== undefined) limits[dimension] = readLimit(limit, dimension, fail);
  }
  const perTable = (value as { perTable?: unknown }).perTable;
  if (perTable !== undefined) limits.perTable = readPerTable(perTable, fail);
  const { owner } = value as { owner?: unknown };
  if (owner !== undefined) limits.owner = readOwner(owner, fail);
  return Object.freeze(limits);
}

/** Checks an exemption as somebody wrote it. */
export function readExemption(value: BudgetExemption, where: string): BudgetExemption {
  const fail: Fail = (path, bad, remedy) => invalidBudget(where, path, bad, remedy);
  const limits = readLimits(value, fail, ['issue', 'until']);
  if (typeof value.issue !== 'string' || value.issue.trim() === '') {
    throw fail('issue', value.issue, 'Name the ticket that ends the exemption: a URL or its number.');
  }
  if (!isDay(value.until)) throw fail('until', value.until, LAST_DAY);
  if (Object.keys(limits).every(name => name === 'owner')) {
    throw fail('queries', undefined, 'An exemption is a ceiling: give at least one limit.');
  }
  return Object.freeze({
    ...limits,
    issue: value.issue,
    until: value.until,
  });
}

/** Checks what somebody wants to be ignored. */
export function readIgnored(value: IgnoredRepeat, where: string): IgnoredRepeat {
  const { shape, reason, until } = value;
  if (typeof shape !== 'string' || shape.trim() === '') {
    throw invalidBudget(where, 'shape', shape, 'Copy the shape from the log or from the cost record.');
  }
  if (typeof reason !== 'string' || reason.trim() === '') {
    throw invalidBudget(where, 'reason', reason, 'Say why it may repeat.');
  }
  if (!isDay(until)) throw invalidBudget(where, 'until', until, LAST_DAY);
  return Object.freeze({ shape, reason, until });
}

/** The first instant after a day (`YYYY-MM-DD` in UTC), in milliseconds since the epoch. */
export function endOfDay(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) + MS_PER_DAY;
}

function isDay(value: unknown): boolean {
  if (typeof value !== 'string' || !DAY.test(value)) return false;
  // 2027-02-30 parses as 2 March: only a day that comes back as it went in is one.
  return new Date(`${value}T00:00:00Z`).toISOString().startsWith(value);
}

function readLimit(value: unknown, path: string, fail: Fail): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw fail(path, value, REMEDY);
}

function readOwner(value: unknown, fail: Fail): string {
  if (typeof value === 'string' && value.trim() !== '' && value.length <= MAX_OWNER_LENGTH) return value;
  throw fail(
    'owner',
    value,
    `Name the team or the person in at most ${MAX_OWNER_LENGTH} characters, or leave it out.`,
  );
}

function readPerTable(value: unknown, fail: Fail): Readonly<Record<string, number>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fail('perTable', value, 'Use an object of tables and limits, such as { orders: 5 }.');
  }
  const limits = Object.entries(value).map(
    ([table, limit]) => [table, readLimit(limit, `perTable.${table}`, fail)] as const,
  );
  return Object.freeze(Object.fromEntries(limits));
}
