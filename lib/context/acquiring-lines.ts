import {
  type CallSite,
  callSiteOf,
  captureStack,
  describeCallSite,
  type RawStack,
} from '../kernel/call-site';

/** Lines that are kept of one handler, for as long as the process lives. */
const MAX_LINES = 3;
/** Stacks that are taken once a connection has outlived its request: 2 to 5 µs each. */
const STACKS_WHEN_SUSPECT = 1_000;

type StackBoundary = (...args: never[]) => unknown;

/**
 * Where one handler asks for its connections.
 *
 * A stack for each checkout costs 2 µs. So its first three are looked at, and then each time that it has
 * made twice as many; and all of them once one has outlived its request.
 */
export class AcquiringLines {
  readonly #lines: CallSite[] = [];
  #acquisitions = 0;
  #lookAt = 1;
  #stacksLeft = 0;

  /** Counts a checkout; its own stack, if a connection of the handler has outlived its request before. */
  see(stackBoundary: StackBoundary): RawStack | undefined {
    this.#acquisitions += 1;
    if (this.#acquisitions === this.#lookAt) this.#look(stackBoundary);
    if (this.#stacksLeft === 0) return undefined;
    this.#stacksLeft -= 1;
    return captureStack(stackBoundary);
  }

  /** Says that a connection has outlived its request: the next one shall be named by its own stack. */
  suspect(): void {
    this.#stacksLeft = STACKS_WHEN_SUSPECT;
  }

  /** `a.ts:10 list`, or `a.ts:10 list, or b.ts:20 load`. */
  describe(): string | undefined {
    return this.#lines.length === 0 ? undefined : this.#lines.map(describeCallSite).join(', or ');
  }

  #look(stackBoundary: StackBoundary): void {
    this.#lookAt = this.#acquisitions < MAX_LINES ? this.#acquisitions + 1 : this.#acquisitions * 2;
    // Its frame and not the stack: that would keep the objects of this request.
    const line = callSiteOf(captureStack(stackBoundary));
    if (line === undefined || this.#lines.some(known => isSame(known, line))) return;
    if (this.#lines.push(line) === MAX_LINES) this.#lookAt = Infinity;
  }
}

function isSame(a: CallSite, b: CallSite): boolean {
  return a.line === b.line && a.column === b.column && a.file === b.file;
}
