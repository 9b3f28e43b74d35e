import type { CallDimension } from '../../cost/call-ledger';
import type { CallsCostRecord } from '../../cost/cost-record';
import { CALL_SITE_AT_REPEAT } from '../../cost/shape-cost';

const COMMANDS: Readonly<Record<string, string>> = {
  GET: 'fetch all keys with one MGET, or in a pipeline',
  HGET: 'fetch all fields with HMGET, or in a pipeline',
  SET: 'write all keys with one MSET, or in a pipeline',
  DEL: 'delete all keys with one DEL',
};
/** Calls that overlap less than this count as one after another. */
const MOST_OVERLAP = 1.1;

/** What to do about too many calls. */
export function fixOfCount(dimension: CallDimension, calls: CallsCostRecord | undefined): string {
  switch (dimension) {
    case 'http':
      return 'call the other service once for all items (a bulk route), or reuse its responses within the request';
    case 'cache':
      return `${COMMANDS[repeatedTarget(calls) ?? ''] ?? 'send all commands in one pipeline (MGET, HMGET)'}; keep values that the request needs again`;
    case 'messages':
      return 'publish one message for all items, or a batch (addBulk, sendBatch)';
  }
}

/** What to do about calls that took too long: a loop, a sequence, and one slow call differ. */
export function fixOfSlowCalls(dimension: CallDimension, calls: CallsCostRecord | undefined): string {
  if (repeatedTarget(calls) !== undefined) return fixOfCount(dimension, calls);
  const { count = 1, durationMs = 0, busyMs = 0, maxConcurrent = 1 } = calls ?? {};
  const isSequence = count > 1 && durationMs <= MOST_OVERLAP * busyMs;
  const ran = maxConcurrent > 1 ? 'they ran mostly one after another' : 'they ran one after another';
  switch (dimension) {
    case 'http':
      if (isSequence)
        return `send the ${count} calls at once (Promise.all) where none needs the result of another: ${ran}`;
      if (count > 1) return 'set a timeout: the calls overlap, so the slowest one decides';
      return 'set a timeout, and if the service stays slow, call it outside of the request (a job, a cache)';
    case 'cache':
      return isSequence
        ? `send the commands in one pipeline: ${ran}`
        : 'check the cache server, and whether the command is a slow one (KEYS, a large value, one that blocks)';
    case 'messages':
      return 'check the broker, or publish after the response';
  }
}

/** What is called in a loop; `undefined` if nothing is called often. */
function repeatedTarget(calls: CallsCostRecord | undefined): string | undefined {
  const [[target, { count }] = ['', { count: 0 }]] = Object.entries(calls?.byTarget ?? {}).sort(
    ([, a], [, b]) => b.count - a.count,
  );
  return count >= CALL_SITE_AT_REPEAT ? target : undefined;
}
