import type { ClosedUnit, OpenedResource } from './opened-resources';
import { keeperOf, type ResourceKeeper, type ResourceOrigin } from './resource-origin';
import { RESOURCE_RULES } from './resource-types';
import type { ResourceType } from '../../context/request-context';

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
  /** Whether there are more than were spoken of. */
  readonly hasGrown: boolean;
}

type Group = { -readonly [name in keyof LeftOpen]: LeftOpen[name] } & { readonly first: ClosedUnit };

interface Entry {
  readonly type: ResourceType;
  readonly unit: ClosedUnit;
  readonly closedMs: number;
  readonly dueMs: number | undefined;
  readonly subject: () => object | undefined;
  readonly origin: ResourceOrigin;
  /** Once it has been open for long enough. */
  leak: { readonly key: string; readonly keeper: ResourceKeeper; wasSaid: boolean } | undefined;
}

const MAX_OF_HANDLER = 1_000;
const MAX = 10_000;
/** A ledger that is full lets go of what was closed, at most so often. */
const MAKE_ROOM_MS = 100;

/** Keeps what is open after the end of its unit of work, and says what has been so for too long. */
export class ResourceLedger {
  /** What was opened beyond the bounds. */
  untracked = 0;
  readonly #leakMs: number;
  readonly #ofHandler = new Map<string, number>();
  #entries: Entry[] = [];
  #sweptMs = 0;

  constructor(leakMs: number) {
    this.#leakMs = leakMs;
  }

  add(opened: OpenedResource, origin: ResourceOrigin, unit: ClosedUnit, closedMs: number): void {
    const { type, resource, openedMs } = opened;
    if (!this.#hasRoom(unit.handler)) {
      this.untracked += 1;
      return;
    }
    this.#count(unit.handler);
    const delay = (resource as { _idleTimeout?: number })._idleTimeout;
    const dueMs = type === 'timeout' && delay !== undefined ? openedMs + delay : undefined;
    const subject = hold(type, resource);
    this.#entries.push({ type, unit, closedMs, dueMs, origin, subject, leak: undefined });
  }

  /** What is open now and has been for long enough, by handler, type, line and who keeps it. */
  leftOpen(): LeftOpen[] {
    const now = performance.now();
    this.#sweep(now);
    const groups = new Map<string, Group>();
    for (const entry of this.#entries) {
      const { leak } = entry;
      if (leak === undefined) continue;
      let group = groups.get(leak.key);
      if (group === undefined) groups.set(leak.key, (group = groupOf(entry, leak)));
      group.count += 1;
      group.oldestMs = Math.max(group.oldestMs, now - entry.closedMs);
      if (entry.dueMs !== undefined) group.dueInMs = Math.max(group.dueInMs ?? 0, entry.dueMs - now);
      group.isRepeated ||= entry.unit !== group.first;
      group.hasGrown ||= !leak.wasSaid;
    }
    return [...groups.values()];
  }

  /** Those of a key were spoken of. */
  noteSaid(key: string): void {
    for (const { leak } of this.#entries) if (leak?.key === key) leak.wasSaid = true;
  }

  clear(): void {
    this.#entries = [];
    this.#ofHandler.clear();
  }

  /** Lets go of what was closed, and looks at what was not. */
  #sweep(now: number): void {
    this.#sweptMs = now;
    this.#ofHandler.clear();
    this.#entries = this.#entries.filter(entry => {
      if (!isOpen(entry)) return false;
      this.#count(entry.unit.handler);
      if (entry.leak === undefined && now - entry.closedMs >= this.#leakMs) {
        const keeper = keeperOf(entry.origin);
        entry.leak = { key: keyOf(entry, keeper), keeper, wasSaid: false };
      }
      return true;
    });
  }

  #count(handler: string): void {
    this.#ofHandler.set(handler, (this.#ofHandler.get(handler) ?? 0) + 1);
  }

  #isFull(handler: string): boolean {
    return this.#entries.length >= MAX || (this.#ofHandler.get(handler) ?? 0) >= MAX_OF_HANDLER;
  }

  #hasRoom(handler: string): boolean {
    if (!this.#isFull(handler)) return true;
    const now = performance.now();
    if (now - this.#sweptMs < MAKE_ROOM_MS) return false;
    this.#sweep(now);
    return !this.#isFull(handler);
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

function groupOf({ type, unit }: Entry, { key, keeper }: NonNullable<Entry['leak']>): Group {
  return {
    key,
    type,
    handler: unit.handler,
    isAnswered: unit.isAnswered,
    ...keeper,
    count: 0,
    oldestMs: 0,
    dueInMs: undefined,
    isRepeated: false,
    hasGrown: false,
    first: unit,
  };
}
