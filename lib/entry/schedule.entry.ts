import 'reflect-metadata';
import { coverMethod, type Method } from '../units/covered-method';
import { namedMethodsOf } from '../kernel/methods';

/** What `@Cron()`, `@Interval()` and `@Timeout()` of `@nestjs/schedule` write on a method. */
const TYPE = 'SCHEDULER_TYPE';
const NAME = 'SCHEDULER_NAME';
const OPTIONS = {
  cron: 'SCHEDULE_CRON_OPTIONS',
  interval: 'SCHEDULE_INTERVAL_OPTIONS',
  timeout: 'SCHEDULE_TIMEOUT_OPTIONS',
} as const;

interface Options {
  readonly name?: unknown;
  readonly cronTime?: unknown;
  readonly timeout?: unknown;
}

/** Gives each run of a scheduled method a unit of work of its own: nobody has asked for it. */
export function coverSchedules(prototype: object): void {
  for (const [key, method] of namedMethodsOf(prototype)) {
    if (!Reflect.hasMetadata(TYPE, method)) continue;
    const route = routeOf(method as Method);
    // Whoever calls it in a unit of work calls a method like any other.
    coverMethod(prototype, key, (_, caller) => (caller?.isClosed === false ? undefined : { route }));
  }
}

function routeOf(method: Method): string | undefined {
  for (const [kind, key] of Object.entries(OPTIONS)) {
    const options = Reflect.getMetadata(key, method) as Options | undefined;
    if (options === undefined) continue;
    const name: unknown = Reflect.getMetadata(NAME, method) ?? options.name ?? options.cronTime;
    return `${kind}:${name === undefined ? `${String(options.timeout)}ms` : String(name)}`;
  }
  return undefined;
}
