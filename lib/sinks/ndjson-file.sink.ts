import type { CostRecord } from '../cost/cost-record';
import { HookErrorReporter } from '../reporting/hook-error-reporter';
import { jsonOf } from '../record/bound-record';
import type { CostRecordSink } from './cost-record.sink';
import type { AppendFile } from './files/append-file';
import { type NdjsonFileOptions, readNdjsonFileOptions } from './files/ndjson-file-options';
import type { RotatedFiles } from './files/rotated-files';
import { writeFailure } from './sink-retry';

/**
 * Appends each record to a file as one line of JSON (https://github.com/ndjson/ndjson-spec).
 *
 * The file and its directory are created for the first batch, and again if they were moved or deleted. While nothing
 * can be written (a full or read-only disk), the queue keeps as many records as fit and offers them again; a partial
 * line is never left behind.
 *
 * A full or expired file is renamed with the time in UTC: `cost.2026-11-20T12-00-00.000Z.ndjson`. Processes that share
 * a directory need separate paths.
 *
 * @example
 * AsyncContextModule.forRoot({
 *   sinks: [new NdjsonFileSink({ path: `/var/log/shop/cost.${process.pid}.ndjson`, rotateEvery: 'day', gzip: true })],
 * });
 */
export class NdjsonFileSink implements CostRecordSink {
  readonly name: string;
  readonly #file: AppendFile;
  readonly #rotated: RotatedFiles;
  readonly #maxBytes: number;
  readonly #periodMs: number;
  readonly #hookErrors = new HookErrorReporter();
  #isTidy = false;
  #lastTurn: Promise<void> = Promise.resolve();

  /** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
  constructor(options: NdjsonFileOptions) {
    const { path, maxBytes, periodMs, gzip, maxFiles } = readNdjsonFileOptions(options);
    this.name = `ndjson ${path}`;
    this.#maxBytes = maxBytes;
    this.#periodMs = periodMs;
    // With the first of its kind: they bring `node:zlib` and `node:fs/promises`.
    const files = require('./files/append-file') as typeof import('./files/append-file');
    const rotated = require('./files/rotated-files') as typeof import('./files/rotated-files');
    this.#file = new files.AppendFile(path);
    const report = this.#hookErrors.report.bind(this.#hookErrors);
    this.#rotated = new rotated.RotatedFiles(path, { gzip, maxFiles, report });
  }

  /** @throws the error of the file system; the queue offers unwritten records again */
  write(records: readonly CostRecord[]): Promise<void> {
    return this.#inTurn(() => this.#append(records));
  }

  /** Closes the file after pending writes; the next `write()` opens it again. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isTidy = false;
      await Promise.all([this.#file.close(), this.#rotated.close()]);
    });
  }

  // Two applications of one process may share the sink: two first writes at once left a handle open.
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  async #append(records: readonly CostRecord[]): Promise<void> {
    const lines = records.map(record => Buffer.from(`${jsonOf(record)}\n`));
    let written = 0;
    try {
      while (written < lines.length) {
        await this.#file.ready();
        this.#tidyAtStart();
        if (this.#isOver(lines[written] as Buffer)) await this.#rotate();
        const part = this.#fitting(lines, written);
        await this.#file.append(Buffer.concat(part));
        written += part.length;
      }
    } catch (error) {
      const { delivered = 0 } = error as { delivered?: number };
      throw writeFailure(error, { delivered: written + delivered });
    }
  }

  /** What a process that was killed has left is compressed and counted once the next one writes. */
  #tidyAtStart(): void {
    if (this.#isTidy || !this.#file.isRegular) return;
    this.#isTidy = true;
    this.#rotated.tidy();
  }

  #isOver(next: Buffer): boolean {
    const { size, writtenMs, isRegular } = this.#file;
    if (!isRegular || size === 0) return false;
    if (size + next.length > this.#maxBytes) return true;
    return Math.floor(Date.now() / this.#periodMs) > Math.floor(writtenMs / this.#periodMs);
  }

  async #rotate(): Promise<void> {
    // Windows moves no file that is open.
    await this.#file.close();
    try {
      await this.#rotated.moveAway();
      this.#rotated.tidy();
    } catch (error) {
      // A file that is too large is better than records that are lost.
      this.#hookErrors.report(this.name, error);
    }
    await this.#file.ready();
  }

  /** Lines from there on up to the size of a file; at least one. */
  #fitting(lines: readonly Buffer[], from: number): Buffer[] {
    let { size } = this.#file;
    let to = from;
    do {
      size += (lines[to] as Buffer).length;
      to += 1;
    } while (to < lines.length && size + (lines[to] as Buffer).length <= this.#maxBytes);
    return lines.slice(from, to);
  }
}
