import { median } from './statistics.mjs';

/** Time in which a request that is over may not have been settled yet, and where the store was away: until it is found. */
const [SETTLING_MS, FINDING_MS] = [500, 4_000];
/** Records round to thousandths of a millisecond, and clocks differ. */
const TOLERANCE = 1;

const sum = list => list.reduce((all, one) => all + one, 0);
const max = list => list.reduce((most, one) => Math.max(most, one), -Infinity);

function group(list, keyOf) {
  const groups = new Map();
  for (const one of list) {
    const key = keyOf(one);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  return groups;
}

/**
 * What one bucket allowed: its burst, what came back between the first and the last time that something was let in,
 * and the debt of those that had not been settled then: what they cost beyond what was reserved for them.
 *
 * @param sinceMs when the bucket may have been used first, where that is earlier
 * @param settlingMs for so long after its end a request may not have been settled
 * @param mostDebt with hard limits
 */
function allowed(requests, { burst, restorePerSecond }, sinceMs, settlingMs, mostDebt = Infinity) {
  const firstMs = Math.min(sinceMs, -max(requests.map(({ beganMs }) => -beganMs)));
  const last = requests.reduce((a, b) => (b.answeredMs > a.answeredMs ? b : a));
  const restored = ((last.answeredMs - firstMs) / 1_000) * restorePerSecond;
  const open = requests.filter(({ endedMs }) => endedMs + settlingMs > last.beganMs);
  const debt = sum(open.map(({ spent, points }) => Math.max(0, spent - points)));
  return burst + restored + Math.min(debt, mostDebt);
}

/**
 * Compares what each caller has spent with what its buckets allowed: that of the store before and after it was lost,
 * and those that the processes have had in the meantime.
 *
 * @param mostDebt with hard limits, what one request may cost
 * @param lostMs when the store has lost its buckets
 * @param backMs when it was started again
 */
export function audit(processes, plan, { mostDebt, lostMs = Infinity, backMs }) {
  const settlingMs = lostMs === Infinity ? SETTLING_MS : FINDING_MS;
  const requests = processes.flatMap((books, i) =>
    books.requests.map(request => ({
      ...request,
      bucket: request.from === 'memory' ? `memory ${i}` : `store ${request.answeredMs > lostMs ? 2 : 1}`,
    })),
  );
  const accounts = Array.from(
    group(requests, ({ user }) => user),
    ([user, own]) => {
      const buckets = Array.from(
        group(own, ({ bucket }) => bucket),
        ([bucket, list]) => {
          const spent = sum(list.map(request => request.spent));
          const isSecond = bucket === 'store 2';
          // Clients send again what was on its way to the server that was killed: it fills up from then on.
          let most = allowed(list, plan, isSecond ? backMs : Infinity, settlingMs, mostDebt);
          // What was reserved of a bucket that is lost may be given back to the one in its place.
          if (isSecond) {
            const open = own.filter(
              ({ bucket: from, endedMs }) => from === 'store 1' && endedMs + settlingMs > lostMs,
            );
            most += sum(open.map(request => Math.max(0, request.points - request.spent)));
          }
          return { user, bucket, spent, most, share: spent / most };
        },
      );
      const charged = sum(processes.map(books => books.charged[user] ?? 0));
      const spent = sum(buckets.map(bucket => bucket.spent));
      return {
        user,
        spent,
        isAbove: buckets.some(bucket => bucket.spent > bucket.most + TOLERANCE),
        buckets,
        unbalanced: charged - spent,
      };
    },
  );
  return {
    accounts,
    admitted: requests.length,
    unreserved: requests.filter(({ points }) => points === undefined).length,
    short: sum(requests.map(({ spent, points }) => Math.max(0, spent - points))),
    dearest: max(requests.map(({ spent }) => spent)),
    /** The median time of a reservation in the store. */
    storeMs: median(
      requests.filter(({ from }) => from === 'store').map(({ beganMs, answeredMs }) => answeredMs - beganMs),
    ),
    inMemory: requests.filter(({ from }) => from === 'memory').length,
    /** The bucket that was used most. */
    worst: accounts.flatMap(({ buckets }) => buckets).reduce((a, b) => (b.share > a.share ? b : a)),
    unbalanced: max(accounts.map(({ unbalanced }) => Math.abs(unbalanced))),
  };
}
