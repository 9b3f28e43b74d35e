import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CostRecord } from '../cost/cost-record';
import { jsonOf } from './bound-record';
import type { CostRecordSink } from './cost-record.sink';

const NEWLINE = 0x0a;

/**
 * Appends each record to a file as one line of JSON (https://github.com/ndjson/ndjson-spec).
 *
 * The file and its folder are made when the first batch comes. A batch that cannot be written (a
 * full or read-only disk) is dropped and counted; the next one opens the file anew.
 *
 * @example
 * AsyncContextModule.forRoot({ sinks: [new NdjsonFileSink({ path: '/var/log/shop/cost.ndjson' })] });
 */
export class NdjsonFileSink implements CostRecordSink {
  readonly name: string;
  readonly #path: string;
  #file: FileHandle | undefined;
  #lastTurn: Promise<void> = Promise.resolve();

  /** @param options `path`: the file; relative to the working folder of the process */
  constructor(options: { readonly path: string }) {
    this.#path = options.path;
    this.name = `ndjson ${options.path}`;
  }

  /** @throws the error of the file system; the queue counts the batch as dropped */
  write(records: readonly CostRecord[]): Promise<void> {
    return this.#inTurn(() => this.#append(records));
  }

  /** Closes the file, after what is being written; the next `write()` would open it again. */
  close(): Promise<void> {
    return this.#inTurn(() => this.#release());
  }

  // Two applications of one process may share the sink: two first writes at once left a handle open.
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  async #append(records: readonly CostRecord[]): Promise<void> {
    const lines = records.map(record => `${jsonOf(record)}\n`).join('');
    try {
      let start = '';
      if (this.#file === undefined) {
        this.#file = await this.#open();
        if (await this.#endsInsideLine(this.#file)) start = '\n';
      }
      await writeAll(this.#file, Buffer.from(start + lines));
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  async #release(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    // A disk that failed to write may fail to close as well; there is nothing to be done about it.
    await file?.close().catch(() => undefined);
  }

  async #open(): Promise<FileHandle> {
    await mkdir(dirname(this.#path), { recursive: true });
    // Readable by the owner alone: handlers, routes and user ids are nobody else's business.
    return open(this.#path, 'a', 0o600);
  }

  // A disk that filled up or a process that was killed leaves half a line; one more record written
  // behind it would be lost with it.
  async #endsInsideLine(file: FileHandle): Promise<boolean> {
    const stats = await file.stat();
    if (!stats.isFile() || stats.size === 0) return false;
    // A file that may only be written to cannot be asked: it is taken to be whole.
    const reader = await open(this.#path, 'r').catch(() => undefined);
    try {
      const read = await reader?.read(Buffer.alloc(1), 0, 1, stats.size - 1);
      return read?.bytesRead === 1 && read.buffer[0] !== NEWLINE;
    } finally {
      await reader?.close();
    }
  }
}

// Not appendFile(): it writes 512 KB at a time, and another process could write in between.
async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await file.write(bytes, written)).bytesWritten;
  }
}
