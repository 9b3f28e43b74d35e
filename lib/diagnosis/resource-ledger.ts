import type { RawStack } from '../cost/call-site';
import type { ClosedUnit, OpenedResource } from './opened-resources';
import { keeperOf, originOf, type ResourceKeeper, type ResourceOrigin } from './resource-origin';
import { RESOURCE_RULES, type ResourceType } from './resource-types';

/** What one handler has left open at one line. */
export interface LeftOpen extends ResourceKeeper {
  readonly key: string;
  readonly type: ResourceType;
  readonly handler: string;
  readonly isAnswered: boolean;
  /** How many are open now. */
  readonly count: number;
  /** Milliseconds since the end of the unit of work of the oldest. */
  readonly oldestMs: number;
  /** Milliseconds until the last of the timeouts is due. */
  readonly dueInMs: number | undefined;
  /** Whether more than one unit of work has left some. */
  readonly isRepeated: boolean;
}

type Group = { -readonly [name in keyof LeftOpen]: LeftOpen[name] } & { readonly first: ClosedUnit };

interface Entry {
  readonly type: ResourceType;
  readonly unit: ClosedUnit;
  readonly closedMs: number;
  readonly dueMs: number | undefined;
  readonly subject: () => object | undefined;
  /** Until it is looked at for the first time. */
  stack: RawStack | undefined;
  origin: ResourceOrigin | undefined;
  /** Once it has been open for long enough. */
  keeper: ResourceKeeper | undefined;
}

const MAX_OF_HANDLER = 1_000;
const MAX = 10_000;

/** Keeps what is open after the end of its unit of work, and says what has been so for too long. */
export class ResourceLedger {
  isRunning = true;
  /** What was opened beyond the bounds. */
  untracked = 0;
  /** Keys of what has become more since somebody took them out. */
  readonly grown = new Set<string>();
  readonly #leakMs: number;
  readonly #ofHandler = new Map<string, number>();
  #entries: Entry[] = [];

  constructor(leakMs: number) {
    this.#leakMs = leakMs;
  }

  add({ type, resource, stack, openedMs }: OpenedResource, unit: ClosedUnit, closedMs: number): void {
    if (!this.isRunning) return;
    const ofHandler = this.#ofHandler.get(unit.handler) ?? 0;
    if (ofHandler >= MAX_OF_HANDLER || this.#entries.length >= MAX) {
      this.untracked += 1;
      return;
    }
    this.#ofHandler.set(unit.handler, ofHandler + 1);
    const delay = (resource as { _idleTimeout?: number })._idleTimeout;
    const dueMs = type === 'timeout' && delay !== undefined ? openedMs + delay : undefined;
    const subject = hold(type, resource);
    this.#entries.push({ type, unit, closedMs, dueMs, subject, stack, origin: undefined, keeper: undefined });
  }

  /** Lets go of what was closed, and looks at what was not. */
  #sweep(now: number): void {
    this.#ofHandler.clear();
    this.#entries = this.#entries.filter(entry => {
      if (!isOpen(entry) || !this.#isWorthKeeping(entry, now)) return false;
      this.#ofHandler.set(entry.unit.handler, (this.#ofHandler.get(entry.unit.handler) ?? 0) + 1);
      return true;
    });
  }

  /** What is open now and has been for long enough, by handler, type, line and who keeps it. */
  leftOpen(): LeftOpen[] {
    const now = performance.now();
    this.#sweep(now);
    const groups = new Map<string, Group>();
    for (const entry of this.#entries) {
      if (entry.keeper === undefined) continue;
      const key = keyOf(entry, entry.keeper);
      let group = groups.get(key);
      if (group === undefined) groups.set(key, (group = groupOf(key, entry, entry.keeper)));
      group.count += 1;
      group.oldestMs = Math.max(group.oldestMs, now - entry.closedMs);
      if (entry.dueMs !== undefined) group.dueInMs = Math.max(group.dueInMs ?? 0, entry.dueMs - now);
      group.isRepeated ||= entry.unit !== group.first;
    }
    return [...groups.values()];
  }

  stop(): void {
    this.isRunning = false;
    this.#entries = [];
    this.grown.clear();
  }

  #isWorthKeeping(entry: Entry, now: number): boolean {
    if (entry.stack !== undefined) {
      entry.origin = originOf(entry.type, entry.stack);
      entry.stack = undefined;
    }
    if (entry.origin === undefined) return false;
    if (entry.keeper === undefined && now - entry.closedMs >= this.#leakMs) {
      entry.keeper = keeperOf(entry.origin);
      this.grown.add(keyOf(entry, entry.keeper));
    }
    return true;
  }
}

/** Weakly: what the application has dropped and the collector has freed is no leak. */
function hold(type: ResourceType, resource: object): () => object | undefined {
  const rules = RESOURCE_RULES[type];
  const subject = rules.subjectOf(resource);
  if (rules.isKept) return () => subject;
  const reference = new WeakRef(subject);
  return () => reference.deref();
}

function isOpen({ type, subject }: Entry): boolean {
  const found = subject();
  return found !== undefined && RESOURCE_RULES[type].isOpen(found);
}

function keyOf({ type, unit }: Entry, { callSite, keptBy }: ResourceKeeper): string {
  return [unit.handler, type, callSite, keptBy].join('\n');
}

function groupOf(key: string, { type, unit }: Entry, keeper: ResourceKeeper): Group {
  const { handler, isAnswered } = unit;
  return {
    key,
    type,
    handler,
    isAnswered,
    ...keeper,
    count: 0,
    oldestMs: 0,
    dueInMs: undefined,
    isRepeated: false,
    first: unit,
  };
}
