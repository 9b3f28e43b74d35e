import type { CallSite } from './call-site';

/** Lines that are looked at, for as long as the process lives. */
const MAX_FRAMES = 1_000;
/** Callers that are told apart: a third one asks for something else than one of them, or is one more of them. */
const MAX_CALLERS = 2;

/** What was asked for through a line. */
interface Frame {
  /** Who called it, and for which shape first. */
  readonly callers: Map<string, string>;
  /** Whether it asked for more than one shape. */
  isVaried: boolean;
  /** Whether it asked for other shapes for other callers. */
  isShared: boolean;
}

const frames = new Map<string, Frame>();

/**
 * Notes that a shape was asked for at a line.
 *
 * One that asks for other shapes for other callers is that of a helper: `q()`, `DatabaseService.query()`, a base
 * class of repositories. What is of interest is who calls it.
 */
export function noteFrames(shape: string, site: CallSite | undefined): void {
  for (let one = site; one?.caller !== undefined; one = one.caller) {
    note(shape, placeOf(one), placeOf(one.caller));
  }
}

/** The line that a shape was asked for at, and the helper that it went through. */
export function withoutHelpers(site: CallSite): {
  readonly site: CallSite;
  readonly helper: CallSite | undefined;
} {
  let nearest = site;
  while (nearest.caller !== undefined && isHelper(nearest)) nearest = nearest.caller;
  return { site: nearest, helper: nearest === site ? undefined : site };
}

/** For tests: what is learned is kept for as long as the process lives. */
export function forgetFrames(): void {
  frames.clear();
}

/** One that is called by a helper alone is a part of it: `q()`, where all call `run()`, which calls `q()`. */
function isHelper(site: CallSite): boolean {
  const frame = frames.get(placeOf(site));
  if (frame === undefined) return false;
  return frame.isShared || (frame.isVaried && site.caller !== undefined && isHelper(site.caller));
}

function note(shape: string, place: string, caller: string): void {
  const frame = frames.get(place);
  if (frame === undefined) {
    if (frames.size < MAX_FRAMES)
      frames.set(place, { callers: new Map([[caller, shape]]), isVaried: false, isShared: false });
    return;
  }
  if (frame.isShared) return;
  for (const [other, asked] of frame.callers) {
    // Another caller that asks for the same is one more caller of a query, not of a helper.
    if (asked === shape) continue;
    frame.isVaried = true;
    frame.isShared ||= other !== caller;
  }
  if (frame.callers.size < MAX_CALLERS && !frame.callers.has(caller)) frame.callers.set(caller, shape);
}

function placeOf({ file, line, column }: CallSite): string {
  return `${file}:${line}:${column}`;
}
