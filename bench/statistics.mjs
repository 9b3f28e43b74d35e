export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The median, and the two values between which that of the whole lies with 95 %: order statistics, which assume
 * nothing of how the values are spread. Of fewer than six it is all of their range, and less certain.
 */
export function medianInterval(values) {
  const sorted = values.toSorted((a, b) => a - b);
  let rank = 0;
  // The chance that at most `rank` values lie below the median, as tosses of a coin.
  for (let term = 0.5 ** sorted.length, sum = term; sum <= 0.025; sum += term) {
    rank++;
    term *= (sorted.length - rank + 1) / rank;
  }
  const left = Math.max(0, rank - 1);
  return { median: median(values), low: sorted[left], high: sorted[sorted.length - 1 - left] };
}

/** Half the distance between the quartiles: how far a typical round lies from the median. */
export function spread(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share => sorted[Math.round(share * (sorted.length - 1))];
  return (at(0.75) - at(0.25)) / 2;
}

/**
 * One row per variant from the rounds of one platform and handler. What a variant adds is compared
 * with the bare application of the same round, so that a slow minute of the machine counts for both.
 */
export function summarise(samples) {
  const bare = samples.bare;
  const added = rounds => rounds.map((sample, round) => sample.cpuMicros - bare[round].cpuMicros);
  const addedByCls = samples.cls && bare ? median(added(samples.cls)) : undefined;

  return Object.entries(samples).map(([variant, rounds]) => {
    const row = {
      variant,
      cpuMicros: median(rounds.map(sample => sample.cpuMicros)),
      requestsPerSecond: median(rounds.map(sample => sample.requestsPerSecond)),
      rssMegabytes: rounds.at(-1).rssMegabytes,
    };
    if (!bare || rounds === bare) return row;
    row.addedMicros = median(added(rounds));
    row.addedSpread = spread(added(rounds));
    if (addedByCls > 0) row.ofCls = row.addedMicros / addedByCls;
    return row;
  });
}
