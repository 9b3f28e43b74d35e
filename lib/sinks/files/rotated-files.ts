import { access, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { gzipFile, UNFINISHED } from './gzip-file';

/** What becomes of a file once another one is written. */
export interface RotatedFilesOptions {
  readonly gzip: boolean;
  /** How many are kept; Infinity for all. */
  readonly maxFiles: number;
  readonly report: (where: string, reason: unknown) => void;
}

/** `2026-11-20T12-00-00.000Z`: without colons, which Windows does not have in names. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z$/;
const ENDINGS = ['', '.gz', UNFINISHED];

/** The files of one sink that are full: `cost.2026-11-20T12-00-00.000Z.ndjson`, by the time of their end. */
export class RotatedFiles {
  readonly #path: string;
  readonly #options: RotatedFilesOptions;
  #abort = new AbortController();
  #tidying: Promise<void> | undefined;
  #isTidyingDue = false;

  constructor(path: string, options: RotatedFilesOptions) {
    this.#path = path;
    this.#options = options;
  }

  /**
   * Gives the file its last name; nobody may write to it any more.
   *
   * @throws the error of the file system; the file is where it was
   */
  async moveAway(): Promise<void> {
    let ms = Date.now();
    while (await this.#isTaken(this.#nameAt(ms))) ms += 1;
    await rename(this.#path, this.#nameAt(ms));
  }

  /** Compresses and removes what is due, meanwhile; also what a process that was killed has left. */
  tidy(): void {
    this.#isTidyingDue = true;
    this.#tidying ??= this.#tidyAll().finally(() => {
      this.#tidying = undefined;
    });
  }

  /** Stops tidying: what is not compressed yet stays as it is, for the next start. */
  async close(): Promise<void> {
    this.#isTidyingDue = false;
    this.#abort.abort();
    await this.#tidying;
    this.#abort = new AbortController();
  }

  async #tidyAll(): Promise<void> {
    while (this.#isTidyingDue) {
      this.#isTidyingDue = false;
      try {
        await this.#tidyOnce(this.#abort.signal);
      } catch (error) {
        if (!this.#abort.signal.aborted) this.#options.report(`rotating ${this.#path}`, error);
      }
    }
  }

  async #tidyOnce(signal: AbortSignal): Promise<void> {
    const { gzip, maxFiles } = this.#options;
    const files = await this.#list();
    const times = [...files.keys()].toSorted();
    for (const time of times.slice(0, Math.max(0, times.length - maxFiles))) {
      for (const ending of files.get(time) ?? []) await this.#remove(time, ending);
      files.delete(time);
    }
    for (const time of times) {
      const endings = files.get(time);
      if (endings?.has(UNFINISHED) === true) await this.#remove(time, UNFINISHED);
      if (endings?.has('') !== true) continue;
      // It got its name when it was whole.
      if (endings.has('.gz')) await this.#remove(time, '');
      else if (gzip) await gzipFile(this.#nameOf(time), signal);
    }
  }

  /** By time, what there is: the file, its gzip, a part of its gzip. */
  async #list(): Promise<Map<string, Set<string>>> {
    const extension = extname(this.#path);
    const prefix = `${basename(this.#path, extension)}.`;
    const files = new Map<string, Set<string>>();
    for (const name of await readdir(dirname(this.#path))) {
      if (!name.startsWith(prefix)) continue;
      for (const ending of ENDINGS) {
        if (!name.endsWith(extension + ending)) continue;
        const time = name.slice(prefix.length, name.length - extension.length - ending.length);
        if (TIME.test(time)) files.set(time, (files.get(time) ?? new Set()).add(ending));
      }
    }
    return files;
  }

  async #remove(time: string, ending: string): Promise<void> {
    await rm(this.#nameOf(time) + ending, { force: true });
  }

  #nameAt(ms: number): string {
    return this.#nameOf(new Date(ms).toISOString().replaceAll(':', '-'));
  }

  #nameOf(time: string): string {
    const extension = extname(this.#path);
    return join(dirname(this.#path), `${basename(this.#path, extension)}.${time}${extension}`);
  }

  async #isTaken(path: string): Promise<boolean> {
    const found = ENDINGS.map(ending =>
      access(path + ending).then(
        () => true,
        () => false,
      ),
    );
    return (await Promise.all(found)).includes(true);
  }
}
