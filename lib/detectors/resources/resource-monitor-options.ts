import type { AsyncContextError } from '../../kernel/errors';

/** What a `ResourceMonitor` monitors, and when an open resource is a leak. */
export interface ResourceMonitorOptions {
  /**
   * Share of the units of work that are monitored, above 0 and at most 1.
   * @default 0.1
   */
  readonly sample?: number;
  /**
   * Milliseconds after the end of its unit of work from which an open resource is a leak.
   * @default 5000
   */
  readonly leakMs?: number;
}

type Fail = (path: string, value: unknown, remedy: string) => AsyncContextError;

const KNOWN = ['sample', 'leakMs'];
/** `setTimeout` takes no longer delay. */
const MAX_TIMER_MS = 2_147_483_647;

/** Checks the options and fills in the defaults; `fail` makes the error of a path. */
export function readResourceMonitorOptions(
  options: unknown,
  fail: Fail,
): Readonly<Required<ResourceMonitorOptions>> {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw fail('', options, 'Use an object with sample and leakMs; {} uses the defaults.');
  }
  for (const [name, value] of Object.entries(options)) {
    if (!KNOWN.includes(name)) throw fail(name, value, 'There is no such option: use sample, leakMs.');
  }
  const { sample = 0.1, leakMs = 5_000 } = options as ResourceMonitorOptions;
  if (!(typeof sample === 'number' && sample > 0 && sample <= 1)) {
    throw fail(
      'sample',
      sample,
      'Use a share above 0 and at most 1, such as 0.1; omit the monitor to disable it.',
    );
  }
  if (!(Number.isInteger(leakMs) && leakMs >= 1 && leakMs <= MAX_TIMER_MS)) {
    throw fail('leakMs', leakMs, `Use a whole number from 1 to ${MAX_TIMER_MS}.`);
  }
  return Object.freeze({ sample, leakMs });
}
