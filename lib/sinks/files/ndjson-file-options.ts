import { invalidOption } from '../../kernel/errors';

/** Options of a `NdjsonFileSink`. */
export interface NdjsonFileOptions {
  /** The file; relative to the working folder of the process. */
  readonly path: string;
  /**
   * Bytes after which another file is begun; one record may be larger.
   * @default no limit
   */
  readonly maxBytes?: number;
  /**
   * When another file is begun: with each hour or day of UTC, or after so many milliseconds, counted from
   * 1970. It is looked at when records are written.
   * @default never
   */
  readonly rotateEvery?: 'hour' | 'day' | number;
  /**
   * Whether files that are full are compressed.
   * @default false
   */
  readonly gzip?: boolean;
  /**
   * Files that are kept beside the one that is written; the oldest are removed.
   * @default all
   */
  readonly maxFiles?: number;
}

/** The options as they are in force. */
export interface ResolvedNdjsonFileOptions {
  readonly path: string;
  readonly maxBytes: number;
  readonly periodMs: number;
  readonly gzip: boolean;
  readonly maxFiles: number;
}

const NAMES = ['path', 'maxBytes', 'rotateEvery', 'gzip', 'maxFiles'];
const PERIODS: Readonly<Record<string, number>> = { hour: 3_600_000, day: 86_400_000 };
/** Shorter ones would make more files than anybody reads. */
const MIN_PERIOD_MS = 1_000;
const MIN_BYTES = 1_024;

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readNdjsonFileOptions(options: NdjsonFileOptions): ResolvedNdjsonFileOptions {
  for (const [name, value] of Object.entries(options)) {
    if (!NAMES.includes(name)) throw fail(name, value, `There is no such option: use ${NAMES.join(', ')}.`);
  }
  const { path, maxBytes = Infinity, rotateEvery = Infinity, gzip = false, maxFiles = Infinity } = options;
  if (typeof path !== 'string' || path === '') throw fail('path', path, 'Use the path of a file.');
  if (typeof gzip !== 'boolean') throw fail('gzip', gzip, 'Use true or false.');
  return {
    path,
    maxBytes: readLeast('maxBytes', maxBytes, MIN_BYTES),
    periodMs: readPeriod(rotateEvery),
    gzip,
    maxFiles: readLeast('maxFiles', maxFiles, 1),
  };
}

function readPeriod(value: NonNullable<NdjsonFileOptions['rotateEvery']>): number {
  const ms = typeof value === 'number' ? value : PERIODS[value];
  if (ms === Infinity || (Number.isSafeInteger(ms) && (ms as number) >= MIN_PERIOD_MS)) return ms as number;
  throw fail('rotateEvery', value, `Use 'hour', 'day' or a whole number of at least ${MIN_PERIOD_MS}.`);
}

function readLeast(name: string, value: number, least: number): number {
  if (value === Infinity || (Number.isSafeInteger(value) && value >= least)) return value;
  throw fail(name, value, `Use a whole number of at least ${least}, or leave it out.`);
}

function fail(path: string, value: unknown, remedy: string) {
  return invalidOption(path, value, remedy, 'new NdjsonFileSink');
}
