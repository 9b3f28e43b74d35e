import { readFileSync, statSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';

/** Maps are read at most once a file, after a response, and only up to this size. */
const MAX_BYTES = 8 * 1024 * 1024;
const MAX_FILES = 64;
const COMMENT = '//# sourceMappingURL=';
const INLINE = /^data:application\/json[^,]*;base64,/;

const maps = new Map<string, SourceMap | undefined>();

/** A place in the source as it was written. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
}

/** Where a compiled position (line and column from 1) came from; itself where no map says otherwise. */
export function originalPosition(file: string, line: number, column: number): SourcePosition {
  const entry = mapOf(file)?.findEntry(line - 1, column - 1);
  if (entry === undefined || !('originalSource' in entry)) return { file, line };
  return {
    file: resolve(dirname(file), entry.originalSource.replace(/^file:\/\//, '')),
    line: entry.originalLine + 1,
  };
}

function mapOf(file: string): SourceMap | undefined {
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
    const url = text.slice(at + COMMENT.length).trim();
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
