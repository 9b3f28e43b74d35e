import * as timers from 'node:timers';

/**
 * The timers of Node as they are when this file is loaded, for what must end also where a test fakes the clock:
 * `vi.useFakeTimers()` replaces the global ones and those of `node:timers`, `jest.useFakeTimers()` the global ones.
 */
export const { setTimeout, clearTimeout, setInterval, clearInterval } = timers;
