import { createHash } from 'node:crypto';
import { invalidOption } from '../../kernel/errors';
import { checkObject } from '../../kernel/option-checks';
import type { CostLimitLevel, CostLimitStore, CostLimitTake } from './cost-limit-store';

const CALL = 'new RedisCostLimitStore';

/** The part of an `ioredis` client, or of its `Cluster`, that is used. */
export interface IoredisScripts {
  evalsha(sha: string, keys: number, ...args: string[]): Promise<unknown>;
  eval(script: string, keys: number, ...args: string[]): Promise<unknown>;
}

/** The part of a `redis` (node-redis) client, or of its cluster, that is used. */
export interface NodeRedisScripts {
  evalSha(sha: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

/** Options of `new RedisCostLimitStore()`. */
export interface RedisCostLimitOptions {
  /** A client of `ioredis` 5 or `redis` 5 or 6, or a cluster of either. The application closes it. */
  readonly client: IoredisScripts | NodeRedisScripts;
  /**
   * Prefix of its keys.
   * @default 'cost-limit:'
   */
  readonly prefix?: string;
}

/**
 * Refills a bucket for the time that has passed on this server, and takes from it. What is refused writes nothing.
 * A bucket expires when it is full again. A level goes as text, as an integer is all that a number would be.
 */
const SCRIPT = `local burst, rate, need, take = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local level = burst
local bucket = redis.call('HMGET', KEYS[1], 'l', 't')
if bucket[1] then
  level = math.min(burst, tonumber(bucket[1]) + math.max(0, now - tonumber(bucket[2])) * rate / 1000)
end
if level < need then return {0, string.format('%.17g', level)} end
level = math.min(burst, level - take)
if level >= burst then
  redis.call('DEL', KEYS[1])
elseif take ~= 0 then
  redis.call('HSET', KEYS[1], 'l', string.format('%.17g', level), 't', string.format('%.17g', now))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(3e12, math.ceil((burst - level) / rate * 1000))))
end
return {1, string.format('%.17g', level)}`;
const SHA = createHash('sha1').update(SCRIPT).digest('hex');

/**
 * Stores the buckets of `@CostLimit()` in Redis or Valkey, so that all processes of an application share them: one
 * script, one key and one round trip per request, with the server's clock. A key expires when its bucket is full
 * again.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 *
 * @example
 * import { Redis } from 'ioredis';
 *
 * AsyncContextModule.forRoot({
 *   guards: { costLimit: { store: new RedisCostLimitStore({ client: new Redis() }) } },
 * });
 */
export class RedisCostLimitStore implements CostLimitStore {
  readonly #run: (key: string, args: string[]) => Promise<unknown>;
  readonly #prefix: string;

  constructor(options: RedisCostLimitOptions) {
    checkObject('', options, ['client', 'prefix'], CALL);
    const { client, prefix = 'cost-limit:' } = options;
    this.#run = runnerOf(client);
    if (typeof prefix !== 'string') throw invalidOption('prefix', prefix, 'Use a string.', CALL);
    this.#prefix = prefix;
  }

  /** @throws the client's error */
  async take({ key, burst, restorePerSecond, need, take }: CostLimitTake): Promise<CostLimitLevel> {
    // Lua reads no infinity everywhere.
    const args = [burst, restorePerSecond, Math.max(need, -Number.MAX_VALUE), take].map(String);
    const [admitted, level] = (await this.#run(this.#prefix + key, args)) as readonly [unknown, unknown];
    return { admitted: Number(admitted) === 1, level: Number(level) };
  }
}

function runnerOf(
  client: IoredisScripts | NodeRedisScripts,
): (key: string, args: string[]) => Promise<unknown> {
  if (hasMethod(client, 'evalSha')) {
    const redis = client as NodeRedisScripts;
    return (key, args) =>
      orWithText(redis.evalSha(SHA, { keys: [key], arguments: args }), () =>
        redis.eval(SCRIPT, { keys: [key], arguments: args }),
      );
  }
  if (hasMethod(client, 'evalsha')) {
    const redis = client as IoredisScripts;
    return (key, args) =>
      orWithText(redis.evalsha(SHA, 1, key, ...args), () => redis.eval(SCRIPT, 1, key, ...args));
  }
  throw invalidOption('client', client, 'Use a client or a cluster of ioredis or redis.', CALL);
}

/** A server that was started, or flushed, since knows the script no more. */
function orWithText(answer: Promise<unknown>, again: () => Promise<unknown>): Promise<unknown> {
  return answer.catch((error: unknown) => {
    if (error instanceof Error && error.message.startsWith('NOSCRIPT')) return again();
    throw error;
  });
}

function hasMethod(client: unknown, name: string): boolean {
  return typeof (client as Record<string, unknown> | null | undefined)?.[name] === 'function';
}
