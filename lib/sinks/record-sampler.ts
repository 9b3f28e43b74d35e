import type { RequestContext } from '../context/request-context';

const HASHES = 2 ** 32;
const SERVER_ERROR = 500;

/**
 * Says which units of work leave a record: a part of those that went well, and all others.
 *
 * One trace is kept or left out as a whole, by each service that it passes: the choice hangs on its id
 * alone. A service that keeps less keeps a part of what the others do.
 *
 * @param sample the share that is kept, from 0 to 1
 * @returns the weight of a record: 1 where it is kept for what it is, `1 / sample` where it stands for
 * others as well, 0 where it is left out; `undefined` when all are kept
 */
export function recordSampler(sample: number): ((context: RequestContext) => number) | undefined {
  if (sample >= 1) return undefined;
  const limit = sample * HASHES;
  const weight = 1 / sample;
  return context => {
    if (isRemarkable(context)) return 1;
    return hashOf(context.traceId ?? context.requestId) < limit ? weight : 0;
  };
}

function isRemarkable({
  isSlow,
  breaches,
  error,
  status = 0,
  blocks,
  unhandledErrors,
}: RequestContext): boolean {
  return (
    isSlow ||
    breaches.length > 0 ||
    error !== undefined ||
    status >= SERVER_ERROR ||
    blocks.length > 0 ||
    unhandledErrors > 0
  );
}

/**
 * FNV-1a, and the end of MurmurHash3 behind it: ids that differ in their last digit alone are spread,
 * too. The same in all processes, which no seed of ours is.
 */
function hashOf(id: string): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16_777_619);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
