import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm, stat, utimes } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

/** Ends the name of a file that is not whole yet. */
export const UNFINISHED = '.gz.tmp';

/**
 * Replaces a file by its gzip, `<path>.gz`. zlib works in a thread of libuv, 64 KB at a time.
 *
 * At each moment there is the whole file, the whole gzip, or both; never only a part of one, also when
 * the process or the machine ends in the middle.
 *
 * @throws the error of the file system, or of the signal; the file is still there
 */
export async function gzipFile(path: string, signal: AbortSignal): Promise<void> {
  const unfinished = `${path}${UNFINISHED}`;
  try {
    const { atime, mtime } = await stat(path);
    await pipeline(createReadStream(path), createGzip(), createWriteStream(unfinished, { mode: 0o600 }), {
      signal,
    });
    await utimes(unfinished, atime, mtime);
    const file = await open(unfinished, 'r+');
    // On the disk before it has its name, and before the file goes.
    await file.sync().finally(() => file.close());
    await rename(unfinished, `${path}.gz`);
    await rm(path);
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw error;
  }
}
