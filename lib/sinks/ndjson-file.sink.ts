import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CostRecord } from '../cost/cost-record';
import type { CostRecordSink } from './cost-record.sink';

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

  /** @param options `path`: the file; relative to the working folder of the process */
  constructor(options: { readonly path: string }) {
    this.#path = options.path;
    this.name = `ndjson ${options.path}`;
  }

  /** @throws the error of the file system; the queue counts the batch as dropped */
  async write(records: readonly CostRecord[]): Promise<void> {
    const lines = records.map(record => `${JSON.stringify(record)}\n`).join('');
    try {
      this.#file ??= await this.#open();
      await this.#file.appendFile(lines);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
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
}
