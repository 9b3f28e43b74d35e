import { invalidBudget, type AsyncContextError } from '../kernel/errors';
import { MAX_TIMER_MS } from '../kernel/option-checks';
import { nearestName } from '../kernel/nearest-name';
import type { BudgetDimensions, BudgetExemption, BudgetLimits, HardLimits, IgnoredRepeat } from './budget';

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
] as const satisfies readonly (keyof BudgetDimensions)[];
const DAY = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/;
const MS_PER_DAY = 86_400_000;
const REMEDY = 'Use a whole number from 0 to 9,007,199,254,740,991, or omit it for no limit.';

const STATUS = { least: 400, most: 599 } as const;
const MAX_OWNER_LENGTH = 100;
const LAST_DAY = 'Give the last day on which it applies, as YYYY-MM-DD.';

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
  checkNames(value, ['perTable', 'owner', 'hard', ...also], fail);
  const { owner, hard } = value as { owner?: unknown; hard?: unknown };
  return Object.freeze({
    ...readDimensions(value, fail),
    ...(owner !== undefined && { owner: readOwner(owner, fail) }),
    ...(hard !== undefined && { hard: readHard(hard, fail) }),
  });
}

/** `{}` limits nothing, which nobody writes on purpose. */
export function checkNotEmpty(value: unknown, fail: Fail, path = 'budget'): void {
  if (typeof value !== 'object' || value === null || Object.keys(value).length > 0) return;
  throw fail(
    path,
    value,
    'Give at least one limit, such as { queries: 20 }. To lift limits use @QueryBudget.unlimited(reason).',
  );
}

function readHard(value: unknown, failOutside: Fail): HardLimits {
  const fail: Fail = (path, bad, remedy) => failOutside(`hard.${path}`, bad, remedy);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw failOutside(
      'hard',
      value,
      'Use an object of limits, such as { queries: 1_000, durationMs: 5_000 }.',
    );
  }
  checkNotEmpty(value, failOutside, 'hard');
  checkNames(value, ['perTable', 'deadlineMs', 'status'], fail);
  const { deadlineMs, status } = value as { deadlineMs?: unknown; status?: unknown };
  return Object.freeze({
    ...readDimensions(value, fail),
    ...(deadlineMs !== undefined && { deadlineMs: readDeadline(deadlineMs, fail) }),
    ...(status !== undefined && { status: readStatus(status, fail) }),
  });
}

function checkNames(value: object, others: readonly string[], fail: Fail): void {
  for (const [name, given] of Object.entries(value)) {
    if (others.includes(name) || (DIMENSIONS as readonly string[]).includes(name)) continue;
    const known = [...DIMENSIONS, ...others];
    const nearest = nearestName(name, known);
    const meant = nearest === undefined ? '' : ` Did you mean ${nearest}?`;
    throw fail(name, given, `There is no such dimension.${meant} Use ${known.join(', ')}.`);
  }
}

function readDimensions(value: object, fail: Fail): BudgetDimensions {
  const limits: { -readonly [K in keyof BudgetDimensions]: BudgetDimensions[K] } = {};
  for (const dimension of DIMENSIONS) {
    const limit = (value as Record<string, unknown>)[dimension];
    if (limit !== undefined) limits[dimension] = readLimit(limit, dimension, fail);
  }
  const { perTable } = value as { perTable?: unknown };
  if (perTable !== undefined) limits.perTable = readPerTable(perTable, fail);
  return limits;
}

/** Checks an exemption as somebody wrote it. */
export function readExemption(value: BudgetExemption, where: string): BudgetExemption {
  const fail: Fail = (path, bad, remedy) => invalidBudget(where, path, bad, remedy);
  const limits = readLimits(value, fail, ['issue', 'until']);
  if (typeof value.issue !== 'string' || value.issue.trim() === '') {
    throw fail('issue', value.issue, 'Name the ticket that tracks the exemption: a URL or a ticket number.');
  }
  if (!isDay(value.until)) throw fail('until', value.until, LAST_DAY);
  if (Object.keys(limits).every(name => name === 'owner')) {
    throw fail('queries', undefined, 'An exemption raises limits: give at least one.');
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
    throw invalidBudget(where, 'reason', reason, 'Say why the repeats are acceptable.');
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

function readDeadline(value: unknown, fail: Fail): number {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_TIMER_MS)
    return value as number;
  throw fail('deadlineMs', value, `Use a whole number of milliseconds from 1 to ${MAX_TIMER_MS}.`);
}

function readStatus(value: unknown, fail: Fail): number {
  const { least, most } = STATUS;
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most)
    return value as number;
  throw fail('status', value, `Use an HTTP status from ${least} to ${most}, such as 503 or 429.`);
}

function readOwner(value: unknown, fail: Fail): string {
  if (typeof value === 'string' && value.trim() !== '' && value.length <= MAX_OWNER_LENGTH) return value;
  throw fail(
    'owner',
    value,
    `Name the team or person in at most ${MAX_OWNER_LENGTH} characters, or omit it.`,
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
