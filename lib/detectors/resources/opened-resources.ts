import type { RequestContext, ResourceNotes } from '../../context/request-context';
import type { RawStack } from '../../kernel/call-site';
import { RESOURCE_RULES } from './resource-types';
import type { ResourceType } from '../../context/request-context';

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

/** Where what outlives its unit of work is noted. */
export interface ResourceRun {
  readonly isOver: boolean;
  outlived(opened: OpenedResource, unit: ClosedUnit, closedMs: number): void;
  /** Something is not looked at: there are too many. */
  overlook(): void;
}

/** What has been closed is let go of when so many are noted, and whenever their number has doubled. */
const LOOK_AT = 32;
const MAX_OPEN = 1_000;

/** Notes what one sampled unit of work opens, and hands it on when that has ended. */
export class OpenedResources implements ResourceNotes {
  readonly #run: ResourceRun;
  #opened: OpenedResource[] = [];
  #lookAt = LOOK_AT;
  #unit: ClosedUnit | undefined;

  constructor(run: ResourceRun) {
    this.#run = run;
  }

  add(type: ResourceType, resource: object, stack: RawStack): void {
    if (this.#run.isOver) return;
    const opened = { type, resource, stack, openedMs: performance.now() };
    if (this.#unit !== undefined) this.#run.outlived(opened, this.#unit, opened.openedMs);
    else if (this.#hasRoom()) this.#opened.push(opened);
    else this.#run.overlook();
  }

  close(context: RequestContext): void {
    const { handler, route, kind, endMs } = context;
    this.#unit = {
      handler: handler?.name ?? route ?? kind,
      isAnswered: kind === 'http' || kind === 'graphql',
    };
    const opened = this.#opened;
    this.#opened = [];
    if (this.#run.isOver) return;
    for (const each of opened) if (isOpen(each)) this.#run.outlived(each, this.#unit, endMs);
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
