import { readFileSync, statSync } from 'node:fs';
import { createRequire, findSourceMap, SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';

/** Maps are read at most once a file, after a response, and only up to this size. */
const MAX_BYTES = 8 * 1024 * 1024;
const MAX_FILES = 64;
const COMMENT = '//# sourceMappingURL=';
const INLINE = /^data:application\/json[^,]*;base64,/;

/** What no engine runs as it is written. */
const COMPILED = /\.[cm]?tsx?$/;
/** `… file:///app/src/a.ts:12:5)` */
const POSITION = /^(.*):(\d+):(\d+)\)?$/s;

/** What stands between the position and what is awaited. */
const AWAIT = 'await ';

type Entry = ReturnType<SourceMap['findEntry']>;

const maps = new Map<string, SourceMap | undefined>();

/** A place in the source as it was written. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
}

/**
 * Where a compiled position (line and column from 1) came from; itself where no map says otherwise.
 *
 * @param isAwait whether an `await` stands there
 */
export function originalPosition(
  file: string,
  line: number,
  column: number,
  isAwait?: boolean,
): SourcePosition {
  const map = mapOf(file);
  const entry = map && entryAt(map, line - 1, column - 1, isAwait);
  if (map === undefined || entry === undefined || !('originalSource' in entry)) return { file, line };
  if (isCompiled(map, entry.originalSource)) return { file, line };
  return {
    file: resolve(dirname(file), pathOf(entry.originalSource)),
    line: entry.originalLine + 1,
  };
}

/** Whether the lines of a source are those of what a loader has made of it: webpack's `cheap-source-map`. */
function isCompiled(map: SourceMap, source: string): boolean {
  if (!COMPILED.test(source)) return false;
  const { sources, sourcesContent } = map.payload as Partial<SourceMap['payload']>;
  const text = sourcesContent?.[sources?.indexOf(source) ?? -1];
  return typeof text === 'string' && text.startsWith('"use strict";') && text.includes('__esModule');
}

/** Minifiers map what is awaited, and not the word before it: that is where what stands before came from. */
function entryAt(map: SourceMap, line: number, column: number, isAwait = false): Entry {
  const entry = map.findEntry(line, column);
  if (!isAwait || isAt(entry, line, column)) return entry;
  const awaited = map.findEntry(line, column + AWAIT.length);
  return isAt(awaited, line, column + 1) ? awaited : entry;
}

/** Whether what is mapped begins there, or later. */
function isAt(entry: Entry, line: number, column: number): boolean {
  return 'originalSource' in entry && entry.generatedLine === line && entry.generatedColumn >= column;
}

/**
 * Whether the lines of a file that runs are its own. Those of TypeScript are of what was made of it in memory, unless
 * Node itself has only stripped its types.
 */
export function hasOwnPositions(file: string): boolean {
  if (!COMPILED.test(file)) return true;
  return (process.features as { typescript?: unknown }).typescript === 'strip' && !isHooked();
}

/**
 * Whether the text of a stack has the lines of the source for a file, because whoever has compiled it maps them, or
 * Node with `--enable-source-maps`.
 */
export function isMappedInText(file: string): boolean {
  return COMPILED.test(file) && (isHooked() || isMappedByNode(file));
}

/** Node maps what it has a map of. A source that it names without one is what ran, compiled in memory. */
function isMappedByNode(file: string): boolean {
  const { sourceMapsEnabled } = process as { sourceMapsEnabled?: boolean };
  if (sourceMapsEnabled !== true) return false;
  return findSourceMap(file) !== undefined || createRequire(__filename).cache[file] === undefined;
}

/** The line that whoever has compiled a file in memory gives to a frame, as in the stacks that it prints. */
export function positionByRunner(frame: NodeJS.CallSite): number | undefined {
  const { prepareStackTrace } = Error;
  const file = frame.getFileName() ?? '';
  try {
    const found = POSITION.exec(lastLine(prepareStackTrace?.(new Error('position'), [frame])));
    const line = Number(found?.[2]);
    const column = Number(found?.[3]);
    // Who knows no map gives the position back as it is.
    const isSame = line === frame.getLineNumber() && column === frame.getColumnNumber();
    return found === null || isSame || !found[1]?.endsWith(baseOf(file)) ? undefined : line;
  } catch {
    return undefined;
  }
}

function lastLine(stack: unknown): string {
  return typeof stack === 'string' ? stack.slice(stack.lastIndexOf('\n') + 1) : '';
}

function baseOf(file: string): string {
  return file.slice(file.lastIndexOf('/') + 1);
}

/** Whether somebody maps the stacks of what it has compiled: SWC's register, Jest, Vitest. */
function isHooked(): boolean {
  const { prepareStackTrace } = Error;
  return prepareStackTrace !== undefined && prepareStackTrace.name !== 'ErrorPrepareStackTrace';
}

function pathOf(source: string): string {
  return source.startsWith('file://') ? decodeURIComponent(source.slice('file://'.length)) : source;
}

function mapOf(file: string): SourceMap | undefined {
  // What Node knows is that of the text that runs, also where it was made in memory.
  const known = findSourceMap(file);
  if (known !== undefined) return known;
  if (COMPILED.test(file)) return undefined;
  if (maps.has(file)) return maps.get(file);
  if (maps.size >= MAX_FILES) maps.clear();
  const map = readMap(file);
  maps.set(file, map);
  return map;
}

function readMap(file: string): SourceMap | undefined {
  try {
    if (statSync(file).size > MAX_BYTES) return undefined;
    const text = readFileSync(file, 'utf8');
    const at = text.lastIndexOf(COMMENT);
    if (at === -1) return undefined;
    // Somebody may have put a line behind it.
    const [url = ''] = text
      .slice(at + COMMENT.length)
      .trim()
      .split(/\s/, 1);
    const json = INLINE.test(url)
      ? Buffer.from(url.replace(INLINE, ''), 'base64').toString()
      : readBeside(file, url);
    return new SourceMap(JSON.parse(json) as ConstructorParameters<typeof SourceMap>[0]);
  } catch {
    // No map, or none that can be read: the compiled position is still of use.
    return undefined;
  }
}

function readBeside(file: string, url: string): string {
  const path = resolve(dirname(file), decodeURIComponent(url));
  if (statSync(path).size > MAX_BYTES) throw new RangeError('source map too large');
  return readFileSync(path, 'utf8');
}
