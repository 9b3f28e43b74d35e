import { isAbsolute, sep } from 'node:path';
import { isBundled, isOwnFile } from './own-files';
import { withoutHelpers } from './helper-frames';
import { isPlumbing, type OrmName, ormOf, packageOf } from './package-frames';
import { hasOwnPositions, isMappedInText, originalPosition, positionByRunner } from './source-position';

/** Lines of the application that are kept of a stack: helpers call helpers. */
const MAX_CALLERS = 4;

/** Deep enough to get through an ORM; a raw capture of 30 frames costs about 5 µs. */
const FRAMES = 30;

/** A stack that was taken but not looked at yet; V8 formats it on the first read only. */
export interface RawStack {
  readonly stack?: string | readonly NodeJS.CallSite[];
  /** What has made the query for the application, where another stack shows it. */
  via?: OrmName | undefined;
}

/** Takes the stack of the caller without formatting it: about 2 to 5 µs. */
export function captureStack(stackBoundary: (...args: never[]) => unknown): RawStack {
  const limit = Error.stackTraceLimit;
  const holder: RawStack = {};
  Error.stackTraceLimit = FRAMES;
  try {
    // Throws where the stack is nearly full.
    Error.captureStackTrace(holder, stackBoundary);
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
  /** The line of its source, where whoever has compiled it says so: `line` is that of what runs. */
  readonly sourceLine?: number | undefined;
  /** Whether it awaits what is nearer: its position is that of the word. */
  readonly isAwait?: boolean;
  /** The next line of the application on the stack, where it may be a helper that this one is in. */
  readonly caller?: CallSite | undefined;
  /** What has made the query for the application, as far as the stack shows it. */
  readonly via?: OrmName | undefined;
}

/** The frames of the application, nearest first: `orders.service.ts:47 loadItems`. */
export function callSitesOf(raw: RawStack, most = 1): string[] {
  if (most > 1) return nearestSites(raw, most).map(describeFrame);
  const site = callSiteOf(raw);
  return site === undefined ? [] : [describeCallSite(site)];
}

/** The nearest frame of the application, and who calls it; of a package where there is none. */
export function callSiteOf(raw: RawStack): CallSite | undefined {
  const site = nearestSites(raw, MAX_CALLERS).reduceRight<CallSite | undefined>(
    (caller, one) => (caller === undefined ? one : { ...one, caller }),
    undefined,
  );
  const via = site && (raw.via ?? viaOf(raw));
  return via === undefined ? site : { ...site!, via };
}

/**
 * The ORM between a driver and the nearest line of the application; GraphQL where that is what has called the
 * application, and can load for all rows at once.
 */
export function viaOf(raw: RawStack): OrmName | undefined {
  let orm: OrmName | undefined;
  let isBelow = true;
  for (const frame of framesOf(raw)) {
    const file = pathOf(frame.getFileName() ?? '');
    const name = packageOf(file);
    if (name === 'graphql' || name === 'mercurius') return 'graphql';
    // What stands above the application runs it, as a transaction does.
    if (isBelow && name !== undefined) orm ??= ormOf(name);
    isBelow &&= !isOfApplication(file);
  }
  return orm;
}

function nearestSites(raw: RawStack, most: number): CallSite[] {
  const frames = framesOf(raw);
  const sites = applicationSites(frames, most);
  return sites.length > 0 || isBundled ? sites : packageSites(frames);
}

/** The nearest frame that is of no driver, ORM or framework: a platform built on Nest, a package of the company. */
function packageSites(frames: readonly NodeJS.CallSite[]): CallSite[] {
  for (const frame of frames) {
    const site = siteOf(frame);
    const name = site && isAbsolute(site.file) ? packageOf(site.file) : undefined;
    if (site !== undefined && name !== undefined && !isPlumbing(name)) return [site];
  }
  return [];
}

/**
 * `orders.service.ts:47 loadItems`, in the source where a source map leads there; without the line where it is that
 * of what was compiled in memory. In a package `@vendure/core/…/stock-level.service.js:88 load`.
 */
function describeFrame(site: CallSite): string {
  const { file, line } = positionOf(site);
  const base = file.slice(file.lastIndexOf(sep) + 1);
  const from = packageOf(site.file);
  const where = from === undefined ? base : `${from}/…/${base}`;
  const at = line === undefined ? where : `${where}:${line}`;
  return site.name ? `${at} ${site.name.slice(site.name.lastIndexOf('.') + 1)}` : at;
}

/** The same, and the helper that it went through: `orders.service.ts:44 items, through db.ts:16 query`. */
export function describeCallSite(nearest: CallSite): string {
  const { site, helper } = withoutHelpers(nearest);
  return helper === undefined
    ? describeFrame(site)
    : `${describeFrame(site)}, through ${describeFrame(helper)}`;
}

function positionOf({ file, line, column, sourceLine, isAwait }: CallSite): {
  file: string;
  line: number | undefined;
} {
  if (sourceLine !== undefined) return { file, line: sourceLine };
  const position = originalPosition(file, line, column, isAwait);
  return position.file === file && !hasOwnPositions(file) ? { file, line: undefined } : position;
}

/** The frames of the application as plain data: a raw stack keeps the objects that its functions were called on. */
export function sitesOf(raw: RawStack, most: number): CallSite[] {
  return applicationSites(framesOf(raw), most);
}

/** What a frame of the application has called. */
export interface Callee {
  readonly name: string;
  /** Whether it is a function of the engine, such as `RegExp.prototype.test`. */
  readonly isBuiltIn: boolean;
}

/** What the nearest frame of the application has called: `pbkdf2Sync`, `test`; `undefined` where it runs itself. */
export function calleeOf(raw: RawStack): Callee | undefined {
  const frames = framesOf(raw);
  const at = frames.findIndex(frame => isOfApplication(pathOf(frame.getFileName() ?? '')));
  const callee = frames[at - 1];
  const name = callee?.getFunctionName() ?? callee?.getMethodName();
  return callee && name ? { name, isBuiltIn: !callee.getFileName() } : undefined;
}

function applicationSites(frames: readonly NodeJS.CallSite[], most: number): CallSite[] {
  const sites: CallSite[] = [];
  for (const frame of frames) {
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
  const path = pathOf(file);
  return {
    file: path,
    line: frame.getLineNumber() ?? 0,
    column: frame.getColumnNumber() ?? 1,
    name: frame.getFunctionName() ?? frame.getMethodName() ?? undefined,
    ...(frame.isAsync() && { isAwait: true }),
    // Others say it for a site that is all that is left of a frame.
    ...(hasOwnPositions(path) ? undefined : { sourceLine: positionByRunner(frame) }),
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
  const site = siteOfText(frame);
  return isOfApplication(site.file) && isReadable(site.file) && isNoPackageOfBundle(site) ? site : undefined;
}

/** The same for a frame of any file. */
export function fileSite(frame: CallSite, isReadable: (file: string) => boolean): CallSite | undefined {
  const site = siteOfText(frame);
  return isReadable(site.file) ? site : undefined;
}

function siteOfText(frame: CallSite): CallSite {
  const file = pathOf(frame.file);
  return { ...frame, file, ...(isMappedInText(file) && { sourceLine: frame.line }) };
}

/** A file of an ES module has the form of an address. */
function pathOf(file: string): string {
  return file.startsWith('file://') ? decodeURIComponent(new URL(file).pathname) : file;
}

/**
 * Whether a file is neither of Node, nor of a package, nor of this one. What is no path is no file: `wasm://…` (the
 * compiler of Prisma 7), `evalmachine.<anonymous>`, `[eval]`, `data:…`.
 */
function isOfApplication(file: string): boolean {
  return isAbsolute(file) && !file.includes(`${sep}node_modules${sep}`) && !isOwnFile(file);
}

/** Reads the source map of a bundle before it serves: a request would have to wait for it, some 80 ms for 3 MB. */
export function prepareCallSites(): void {
  if (isBundled) originalPosition(__filename, 1, 1);
}

/** Whether a place comes from the application; in a bundle, which holds its packages as well, its source map says so. */
function isNoPackageOfBundle({ file, line, column, isAwait }: CallSite): boolean {
  if (!isBundled) return true;
  const source = originalPosition(file, line, column, isAwait).file;
  return source !== file && isOfApplication(source);
}
