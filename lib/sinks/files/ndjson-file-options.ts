import { invalidOption } from '../../kernel/errors';

/** Options of `NdjsonFileSink`. */
export interface NdjsonFileOptions {
  /** Path of the file; relative to the working directory of the process. */
  readonly path: string;
  /**
   * Maximum size of a file in bytes, after which a new one is started; a single record may be larger.
   * @default no limit
   */
  readonly maxBytes?: number;
  /**
   * When to start a new file: with each hour or day in UTC, or after this many milliseconds, counted from 1970. It is
   * checked when records are written.
   * @default never
   */
  readonly rotateEvery?: 'hour' | 'day' | number;
  /**
   * Whether full files are compressed.
   * @default false
   */
  readonly gzip?: boolean;
  /**
   * Number of files to keep besides the current one; the oldest are deleted.
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
  if (typeof path !== 'string' || path === '') throw fail('path', path, 'Use a file path.');
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
  throw fail(name, value, `Use a whole number of at least ${least}, or omit it.`);
}

function fail(path: string, value: unknown, remedy: string) {
  return invalidOption(path, value, remedy, 'new NdjsonFileSink');
}
