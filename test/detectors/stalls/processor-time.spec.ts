import { afterEach, describe, expect, it } from 'vitest';
import { ProcessorTime } from '../../../lib/detectors/stalls/processor-time';

const isLinux = process.platform === 'linux';

/** Uses so many milliseconds of the processor. */
function compute(ms: number): void {
  const before = process.cpuUsage();
  let used = before;
  do {
    used = process.cpuUsage(before);
  } while (used.user + used.system < ms * 1_000);
}

describe('the time of the processor', () => {
  let processor: ProcessorTime;
  afterEach(() => processor.close());

  it.each([undefined, '/no/such/file'])('is what the thread used since it was asked last, of %s', path => {
    processor = new ProcessorTime(path);
    compute(100);
    const { cpuMs, waitedMs } = processor.take();
    expect(cpuMs).toBeGreaterThan(50);
    expect(processor.take().cpuMs).toBeLessThan(cpuMs);
    if (path === undefined && isLinux) expect(waitedMs).toBeGreaterThanOrEqual(0);
    else expect(waitedMs).toBeUndefined();
  });

  it('is none while the thread waits, and that is no waiting for a processor', () => {
    processor = new ProcessorTime();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    const { cpuMs } = processor.take();
    expect(cpuMs).toBeLessThan(250);
  });

  it('is told after it was closed as well', () => {
    processor = new ProcessorTime();
    processor.close();
    expect(processor.take().waitedMs).toBeUndefined();
  });
});
