import type { RequestContext, ResourceNotes } from '../context/request-context';
import type { RawStack } from '../cost/call-site';
import type { ResourceLedger } from './resource-ledger';
import { RESOURCE_RULES, type ResourceType } from './resource-types';

/** What a unit of work has opened, and the stack of the call. */
export interface OpenedResource {
  readonly type: ResourceType;
  readonly resource: object;
  readonly stack: RawStack;
  /** `performance.now()` */
  readonly openedMs: number;
}

/** The unit of work that left something open. */
export interface ClosedUnit {
  readonly handler: string;
  /** Whether its end is a response. */
  readonly isAnswered: boolean;
}

/** What has been closed is let go of when so many are noted, and whenever their number has doubled. */
const LOOK_AT = 32;
const MAX_OPEN = 1_000;

/** Notes what one sampled unit of work opens, and hands it on when that has ended. */
export class OpenedResources implements ResourceNotes {
  readonly #ledger: ResourceLedger;
  #opened: OpenedResource[] = [];
  #lookAt = LOOK_AT;
  #unit: ClosedUnit | undefined;

  constructor(ledger: ResourceLedger) {
    this.#ledger = ledger;
  }

  add(type: ResourceType, resource: object, stack: RawStack): void {
    if (!this.#ledger.isRunning) return;
    const opened = { type, resource, stack, openedMs: performance.now() };
    if (this.#unit !== undefined) this.#ledger.add(opened, this.#unit, opened.openedMs);
    else if (this.#hasRoom()) this.#opened.push(opened);
    else this.#ledger.untracked += 1;
  }

  close(context: RequestContext): void {
    const { handler, route, kind, endMs } = context;
    this.#unit = {
      handler: handler?.name ?? route ?? kind,
      isAnswered: kind === 'http' || kind === 'graphql',
    };
    const opened = this.#opened;
    this.#opened = [];
    for (const each of opened) if (isOpen(each)) this.#ledger.add(each, this.#unit, endMs);
  }

  #hasRoom(): boolean {
    if (this.#opened.length < this.#lookAt) return true;
    this.#opened = this.#opened.filter(isOpen);
    this.#lookAt = Math.min(MAX_OPEN, Math.max(LOOK_AT, this.#opened.length * 2));
    return this.#opened.length < MAX_OPEN;
  }
}

function isOpen({ type, resource }: OpenedResource): boolean {
  const rules = RESOURCE_RULES[type];
  return rules.isOpen(rules.subjectOf(resource));
}
