import type { Session } from 'node:inspector';

/** What the thread that watches is given. */
export interface WatcherData {
  /** Name of the symbol that what copies of the package share hangs on. */
  readonly share: string;
  /** Of the event loop: how often it was looked at, and the number of the handler that runs. */
  readonly loop: Int32Array;
  /** Of the watchdog, which says what they are. */
  readonly figures: Float64Array;
  /** 0 while there is nothing to watch. */
  readonly awake: Int32Array;
  /** The same handler is looked at once in this time. */
  readonly windowMs: number;
  /** The same for whoever is not known beforehand. */
  readonly soonMs: number;
  readonly tickMs: number;
  /** A tick that is later than this shows that the whole process was suspended. */
  readonly lateMs: number;
}

/**
 * Runs in a thread of its own: looks whether the event loop of the main thread turns and, when it has not
 * for long, has the main thread note what it is at.
 *
 * What is sent to the main thread through the inspector interrupts even a loop, at the next call or turn of
 * it; native code (`JSON.parse`) at its end. `Runtime.evaluate` alone takes 0.5 to 7 ms from here, also with
 * 4,000 scripts loaded; `Debugger.enable`, which a pause needs, tells of each script: 80 to 93 ms.
 *
 * Between two looks the thread stands in `Atomics.wait()`: with 25 ms two thirds of what an interval costs,
 * and nothing while it sleeps. Its own event loop turns only while an answer of the inspector is due.
 *
 * Its source is handed to the worker as text, so that a bundler cannot lose the file. So it must stand
 * alone: no imports, nothing from around it.
 */
export function watchMainThread(): void {
  const { workerData } = process.getBuiltinModule('node:worker_threads');
  const inspector = process.getBuiltinModule('node:inspector');
  const { share, loop, figures, awake, windowMs, soonMs, tickMs, lateMs } = workerData as WatcherData;
  const lastLooks = new Map<number, number>();
  let beats = -1;
  let sinceMs = 0;
  let tickedMs = 0;
  let isLooking = false;

  setTimeout(watch, 0);

  function watch(): void {
    for (;;) {
      tick();
      if (isLooking) break;
      if (Atomics.load(awake, 0) === 0) {
        Atomics.wait(awake, 0, 0);
        // Asleep is not suspended: who has woken it says when.
        tickedMs = figures[0]!;
        beats = -1;
      } else {
        Atomics.wait(awake, 0, 1, tickMs);
      }
    }
    setTimeout(watch, tickMs);
  }

  function tick(): void {
    const [seconds, nanoseconds] = process.hrtime();
    const nowMs = seconds * 1_000 + nanoseconds / 1_000_000;
    const passedMs = tickedMs === 0 ? 0 : nowMs - tickedMs;
    tickedMs = nowMs;
    figures[0] = nowMs;
    const seen = Atomics.load(loop, 0);
    if (passedMs > lateMs) figures[1] = figures[1]! + passedMs - tickMs;
    if (seen !== beats || passedMs > lateMs) {
      beats = seen;
      sinceMs = nowMs;
      return;
    }
    // Of a stall that began just after a tick, the next one sees the first.
    if (nowMs - sinceMs < figures[3]! - tickMs || isLooking || figures[2] !== 0) return;
    const handler = Atomics.load(loop, 1);
    if (nowMs - (lastLooks.get(handler) ?? -windowMs) < windowMs) return;
    if (lastLooks.size >= 1_000) forgetOldLooks(nowMs);
    lastLooks.set(handler, nowMs);
    look(seen, handler);
  }

  /** No more than 300 fit into a minute: each is of a stall. */
  function forgetOldLooks(nowMs: number): void {
    for (const [handler, lookedMs] of lastLooks) if (nowMs - lookedMs >= windowMs) lastLooks.delete(handler);
  }

  function look(at: number, handler: number): void {
    isLooking = true;
    let session: Session | undefined;
    const end = (): void => {
      isLooking = false;
      try {
        session?.disconnect();
      } catch {
        // It was not connected.
      }
    };
    try {
      const opened = new inspector.Session();
      session = opened;
      opened.connectToMainThread();
      const expression = `globalThis[Symbol.for('${share}')].single.get('loop').capture(${at})`;
      opened.post('Runtime.evaluate', { expression, silent: true }, (_error, answer) => {
        // Who it was may be another one than who was seen last: that one is to be looked at soon again.
        const found = Number(answer?.result.value ?? -1);
        if (found > 0) lastLooks.set(found, tickedMs);
        if (found !== handler || handler === 0) lastLooks.set(handler, tickedMs - windowMs + soonMs);
        end();
      });
    } catch {
      end();
    }
  }
}
