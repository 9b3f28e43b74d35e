import { contextStorage } from '../../context/context-storage';
import { clearInterval, setInterval } from '../../kernel/real-timers';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { type ClosedUnit, type OpenedResource, OpenedResources } from './opened-resources';
import { takeHookError, useResourceHook } from './resource-hook';
import { type ReportKind, reports } from '../../reporting/reports';
import { ResourceLeakReport } from './resource-leak-report';
import { type LeftOpen, ResourceLedger } from './resource-ledger';
import type { ResourceMonitorOptions } from './resource-monitor-options';
import { isKept, originOf } from './resource-origin';
import { ReportLogger } from '../../reporting/report-logger';

const LEFT_OPEN: ReportKind = { name: 'resources left open', one: 'resource left open', isError: false };
/** Between two looks at what is open. */
const LOOK_MS = { least: 10, most: 1_000 };
/** A timeout ends by itself; so many of one line at a time pile up. */
const TIMEOUTS_THAT_PILE_UP = 10;

/** One run of the monitor, from its start to its stop. */
export class ResourceWatch {
  isOver = false;
  readonly #logger = new ReportLogger('ResourceMonitor');
  readonly #sample: number;
  readonly #hookErrors: HookErrorReporter;
  readonly #own: ResourceLedger;
  // Apart, so that what packages keep takes no room from leaks.
  readonly #kept: ResourceLedger;
  readonly #timer: NodeJS.Timeout;
  readonly #release: () => void;

  constructor({ sample, leakMs }: Required<ResourceMonitorOptions>, hookErrors: HookErrorReporter) {
    this.#sample = sample;
    this.#hookErrors = hookErrors;
    this.#own = new ResourceLedger(leakMs);
    this.#kept = new ResourceLedger(leakMs);
    const look = (): void => void hookErrors.guard('resource monitor', () => this.#look());
    const everyMs = Math.min(LOOK_MS.most, Math.max(LOOK_MS.least, leakMs / 2));
    // Outside of the request that may have asked for it: a timer keeps its context.
    this.#timer = contextStorage.run(undefined as never, () => setInterval(look, everyMs));
    this.#timer.unref();
    this.#release = useResourceHook();
  }

  get untracked(): number {
    return this.#own.untracked;
  }

  /** Decides for a unit of work that opens. */
  sample(): OpenedResources | undefined {
    return Math.random() < this.#sample ? new OpenedResources(this) : undefined;
  }

  /** Something is open after the end of its unit of work. */
  outlived(opened: OpenedResource, unit: ClosedUnit, closedMs: number): void {
    const origin = originOf(opened.type, opened.stack);
    if (origin === undefined) return;
    const ledger = isKept(origin) ? this.#kept : this.#own;
    ledger.add(opened, origin, unit, closedMs);
  }

  /** Something is not looked at: a unit of work has too many open. */
  overlook(): void {
    this.#own.untracked += 1;
  }

  leftOpen(): LeftOpen[] {
    return [...this.#own.leftOpen(), ...this.#kept.leftOpen()];
  }

  stop(): void {
    this.isOver = true;
    clearInterval(this.#timer);
    this.#release();
    this.#own.clear();
    this.#kept.clear();
  }

  #look(): void {
    const hookError = takeHookError();
    if (hookError !== undefined) this.#hookErrors.report('resource monitor', hookError);
    for (const left of this.leftOpen()) {
      if (!left.hasGrown || left.keptBy !== undefined) continue;
      if (left.type === 'timeout' && left.count < TIMEOUTS_THAT_PILE_UP) continue;
      const subject = `${left.handler}, ${left.type}, ${left.callSite}`;
      // What is kept back is asked again at the next look: it is not lost, and not counted.
      if (!reports.wouldAdmit(LEFT_OPEN, subject)) continue;
      reports.admit(LEFT_OPEN, subject, left.oldestMs);
      this.#own.noteSaid(left.key);
      this.#hookErrors.guard('resource monitor log', () => {
        this.#logger.warn(new ResourceLeakReport(left, this.#sample));
      });
    }
  }
}
