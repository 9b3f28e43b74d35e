import { type FileHandle, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { OwnError } from '../../kernel/own-error';

const NEWLINE = 0x0a;

/** A file that is open for appending, as long as it is the one that its path names. */
export class AppendFile {
  /** Bytes that it holds, and those of others that append to it. */
  size = 0;
  /** When it was last written to, in milliseconds since 1970. */
  writtenMs = 0;
  /** Whether it is no device and no pipe. */
  isRegular = false;
  readonly #path: string;
  #file: FileHandle | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Opens it, anew when it was moved or removed meanwhile: by logrotate, or with its whole folder. */
  async ready(): Promise<void> {
    if (this.#file !== undefined && !(await this.#isCurrent(this.#file))) await this.close();
    if (this.#file !== undefined) return;
    await mkdir(dirname(this.#path), { recursive: true });
    // Readable by the owner alone: handlers, routes and user ids are nobody else's business.
    const file = await open(this.#path, 'a', 0o600);
    this.#file = file;
    const { size, mtimeMs } = await this.#look(file);
    // An empty one is new, whenever it was made.
    this.writtenMs = size === 0 ? Date.now() : mtimeMs;
    // A disk that filled up or a process that was killed leaves half a line; one more record written
    // behind it would be lost with it.
    if (await this.#endsInsideLine()) await this.#write(file, Buffer.from('\n'));
  }

  /**
   * Writes lines at its end. Where not all can be written, half a line is taken off again.
   *
   * @throws the error of the file system, with `delivered`: how many lines are written
   */
  async append(lines: Buffer): Promise<void> {
    const file = this.#file;
    if (file === undefined) throw new OwnError('the file is not open');
    const start = this.size;
    try {
      await this.#write(file, lines);
      this.writtenMs = Date.now();
    } catch (error) {
      const written = lines.subarray(0, this.size - start);
      await this.#takeOff(file, start + written.lastIndexOf(NEWLINE) + 1);
      await this.close();
      let delivered = 0;
      for (const byte of written) if (byte === NEWLINE) delivered += 1;
      throw Object.assign(error as Error, { delivered });
    }
  }

  /** A disk that failed to write may fail to close as well; there is nothing to be done about it. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => undefined);
  }

  async #isCurrent(file: FileHandle): Promise<boolean> {
    const [own, named] = await Promise.all([this.#look(file), stat(this.#path).catch(() => undefined)]);
    return named?.ino === own.ino && named.dev === own.dev;
  }

  async #look(file: FileHandle) {
    const stats = await file.stat();
    this.size = stats.size;
    this.isRegular = stats.isFile();
    return stats;
  }

  // Not appendFile(): it writes 512 KB at a time, and another process could write in between.
  async #write(file: FileHandle, bytes: Buffer): Promise<void> {
    let written = 0;
    while (written < bytes.length) {
      const { bytesWritten } = await file.write(bytes, written);
      written += bytesWritten;
      this.size += bytesWritten;
    }
  }

  async #takeOff(file: FileHandle, end: number): Promise<void> {
    try {
      // Not what another process has appended meanwhile.
      if (this.isRegular && this.size > end && (await file.stat()).size === this.size) {
        await file.truncate(end);
      }
    } catch {
      // A disk that refuses that, too, keeps the half line; the next record begins a new one.
    }
  }

  async #endsInsideLine(): Promise<boolean> {
    if (!this.isRegular || this.size === 0) return false;
    // A file that may only be written to cannot be asked: it is taken to be whole.
    const reader = await open(this.#path, 'r').catch(() => undefined);
    try {
      const read = await reader?.read(Buffer.alloc(1), 0, 1, this.size - 1);
      return read?.bytesRead === 1 && read.buffer[0] !== NEWLINE;
    } finally {
      await reader?.close();
    }
  }
}
