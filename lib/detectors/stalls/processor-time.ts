import { closeSync, openSync, readSync } from 'node:fs';
import type { SpentProcessor } from '../../cost/event-loop';

/** On Linux: nanoseconds that the thread ran, and that it was ready and waited for a processor. */
const SCHEDSTAT = '/proc/thread-self/schedstat';
const NANOSECONDS_PER_MS = 1_000_000;
const MICROSECONDS_PER_MS = 1_000;

/** Absent before Node 22.19 and 23.9. */
type ThreadCpuUsage = (() => NodeJS.CpuUsage) | undefined;

/**
 * What the thread got of the processor, to be asked often: 3 µs on Linux, 1 to 2 µs elsewhere.
 *
 * Only the scheduler of Linux tells a thread that waits for a processor from one that waits for something
 * else, as in `execFileSync()`.
 */
export class ProcessorTime {
  readonly #buffer = Buffer.alloc(128);
  #file: number | undefined = undefined;
  #cpuMs = 0;
  #waitedMs: number | undefined = undefined;

  constructor(path = SCHEDSTAT) {
    try {
      this.#file = openSync(path, 'r');
    } catch {
      // Not Linux, or a kernel that does not say.
    }
    this.take();
  }

  /** What was spent since it was asked last. */
  take(): SpentProcessor {
    const [cpuBefore, waitedBefore] = [this.#cpuMs, this.#waitedMs];
    this.#read();
    return {
      cpuMs: this.#cpuMs - cpuBefore,
      waitedMs:
        this.#waitedMs === undefined || waitedBefore === undefined
          ? undefined
          : this.#waitedMs - waitedBefore,
    };
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #read(): void {
    if (this.#file !== undefined && this.#readScheduler(this.#file)) return;
    const usageOfThread = (process as { threadCpuUsage?: ThreadCpuUsage }).threadCpuUsage;
    const { user, system } = usageOfThread?.call(process) ?? process.cpuUsage();
    this.#cpuMs = (user + system) / MICROSECONDS_PER_MS;
    this.#waitedMs = undefined;
  }

  #readScheduler(file: number): boolean {
    try {
      const length = readSync(file, this.#buffer, 0, this.#buffer.length, 0);
      const [ran, waited] = this.#buffer.toString('latin1', 0, length).split(' ').map(Number);
      // A kernel that does not count says 0.
      if (ran === undefined || waited === undefined || !(ran > 0)) return false;
      this.#cpuMs = ran / NANOSECONDS_PER_MS;
      this.#waitedMs = waited / NANOSECONDS_PER_MS;
      return true;
    } catch {
      return false;
    }
  }
}
