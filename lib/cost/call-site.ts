import { sep } from 'node:path';
import { isBundled, isOwnFile } from './own-files';
import { originalPosition } from './source-position';

/** Deep enough to get through an ORM; a raw capture of 30 frames costs about 5 µs. */
const FRAMES = 30;

/** A stack that was taken but not looked at yet; V8 formats it on the first read only. */
export interface RawStack {
  readonly stack?: string | readonly NodeJS.CallSite[];
}

/** Takes the stack of the caller without formatting it: about 2 to 5 µs. */
export function captureStack(below: (...args: never[]) => unknown): RawStack {
  const limit = Error.stackTraceLimit;
  const holder: RawStack = {};
  Error.stackTraceLimit = FRAMES;
  try {
    // Throws where the stack is nearly full.
    Error.captureStackTrace(holder, below);
  } finally {
    Error.stackTraceLimit = limit;
  }
  return holder;
}

/** A line of the application, without what its stack held on to. */
export interface CallSite {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly name: string | undefined;
}

/** The frames of the application, nearest first: `orders.service.ts:47 loadItems`. */
export function callSitesOf(raw: RawStack, most = 1): string[] {
  return sitesOf(raw, most).map(describeCallSite);
}

/** The nearest frame of the application. */
export function callSiteOf(raw: RawStack): CallSite | undefined {
  return sitesOf(raw, 1)[0];
}

/** `orders.service.ts:47 loadItems`, in the source where a source map leads there. */
export function describeCallSite({ file, line, column, name }: CallSite): string {
  const position = originalPosition(file, line, column);
  const where = `${position.file.slice(position.file.lastIndexOf(sep) + 1)}:${position.line}`;
  return name ? `${where} ${name.slice(name.lastIndexOf('.') + 1)}` : where;
}

/** The frames of the application as plain data: a raw stack keeps the objects that its functions were called on. */
export function sitesOf(raw: RawStack, most: number): CallSite[] {
  const sites: CallSite[] = [];
  for (const frame of framesOf(raw)) {
    const site = siteOf(frame);
    if (site === undefined || !isOfApplication(site.file) || !isNoPackageOfBundle(site)) continue;
    sites.push(site);
    if (sites.length === most) break;
  }
  return sites;
}

/** What a frame says; `undefined` for one of the engine's own. */
export function siteOf(frame: NodeJS.CallSite): CallSite | undefined {
  const file = frame.getFileName();
  if (!file) return undefined;
  return {
    file: pathOf(file),
    line: frame.getLineNumber() ?? 0,
    column: frame.getColumnNumber() ?? 1,
    name: frame.getFunctionName() ?? frame.getMethodName() ?? undefined,
  };
}

/** The frames of a stack, nearest first. */
export function framesOf(raw: RawStack): readonly NodeJS.CallSite[] {
  const prepare = Error.prepareStackTrace;
  Error.prepareStackTrace = (_error, frames) => frames;
  try {
    return Array.isArray(raw.stack) ? raw.stack : [];
  } finally {
    if (prepare === undefined) delete (Error as { prepareStackTrace?: unknown }).prepareStackTrace;
    else Error.prepareStackTrace = prepare;
  }
}

/**
 * A frame as the text of a stack has it, where it is one of the application's.
 *
 * @param isReadable asked before the file is read for its source map
 */
export function applicationSite(
  frame: CallSite,
  isReadable: (file: string) => boolean,
): CallSite | undefined {
  const site = { ...frame, file: pathOf(frame.file) };
  return isOfApplication(site.file) && isReadable(site.file) && isNoPackageOfBundle(site) ? site : undefined;
}

/** The same for a frame of any file. */
export function fileSite(frame: CallSite, isReadable: (file: string) => boolean): CallSite | undefined {
  const site = { ...frame, file: pathOf(frame.file) };
  return isReadable(site.file) ? site : undefined;
}

/** A file of an ES module has the form of an address. */
function pathOf(file: string): string {
  return file.startsWith('file://') ? decodeURIComponent(new URL(file).pathname) : file;
}

/** Whether a file is neither of Node, nor of a package, nor of this one. */
function isOfApplication(file: string): boolean {
  return !file.startsWith('node:') && !file.includes(`${sep}node_modules${sep}`) && !isOwnFile(file);
}

/** Reads the source map of a bundle before it serves: a request would have to wait for it, some 80 ms for 3 MB. */
export function prepareCallSites(): void {
  if (isBundled) originalPosition(__filename, 1, 1);
}

/** Whether a place comes from the application; in a bundle, which holds its packages as well, its source map says so. */
function isNoPackageOfBundle({ file, line, column }: CallSite): boolean {
  if (!isBundled) return true;
  const source = originalPosition(file, line, column).file;
  return source !== file && isOfApplication(source);
}
