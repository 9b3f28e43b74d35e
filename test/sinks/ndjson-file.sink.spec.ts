import { mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NdjsonFileSink } from 'nestjs-async-context';
import { recordOf } from '../support/records';

describe('NdjsonFileSink', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ndjson-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('appends a line a record to a file that only its owner can read', async () => {
    const path = join(folder, 'made/on/demand/cost.ndjson');
    const sink = new NdjsonFileSink({ path });
    await sink.write([recordOf('one'), recordOf('two')]);
    await sink.write([recordOf('three')]);
    await sink.close();
    const again = new NdjsonFileSink({ path });
    await again.write([recordOf('four')]);
    await again.close();
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines.map(line => JSON.parse(line) as unknown)).toEqual(
      ['one', 'two', 'three', 'four'].map(id => recordOf(id)),
    );
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('keeps a record on one line, whatever is in it', async () => {
    const path = join(folder, 'cost.ndjson');
    const sink = new NdjsonFileSink({ path });
    const record = recordOf(
      'one',
      {},
      { userId: 'a\nb\r\u0000\u001b[31m"\\\u0085\u009b\u2028\u2029\ud800', error: '\u0007\u007f' },
    );
    await sink.write([record]);
    await sink.close();
    const text = await readFile(path, 'utf8');
    expect(text.match(/\p{Cc}|[\u2028\u2029]/gu)).toEqual(['\n']);
    expect(JSON.parse(text)).toEqual(record);
  });

  it('rejects while it cannot write, and writes again when it can', async () => {
    const path = join(folder, 'file/cost.ndjson');
    await writeFile(join(folder, 'file'), 'in the way');
    const sink = new NdjsonFileSink({ path });
    await expect(sink.write([recordOf('lost')])).rejects.toMatchObject({ code: 'EEXIST' });
    await rm(join(folder, 'file'));
    await sink.write([recordOf('kept')]);
    await sink.close();
    expect(await readFile(path, 'utf8')).toContain('"kept"');
  });

  it('rejects on a full disk', async () => {
    const sink = new NdjsonFileSink({ path: '/dev/full' });
    await expect(sink.write([recordOf('lost')])).rejects.toMatchObject({ code: 'ENOSPC' });
    await sink.close();
  });

  it('writes one batch after the other, to one handle, however many come at once', async () => {
    const path = join(folder, 'cost.ndjson');
    const sink = new NdjsonFileSink({ path });
    // 600 KB a batch: more than a stream or appendFile() writes at a time.
    const batches = Array.from({ length: 4 }, (_, batch) =>
      Array.from({ length: 20 }, (_, i) => recordOf(`${batch}.${i}`, {}, { userId: 'u'.repeat(30_000) })),
    );
    await Promise.all(batches.map(batch => sink.write(batch)));
    expect(await handlesOf(path)).toBe(1);
    await sink.close();
    expect(await handlesOf(path)).toBe(0);
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines.map(line => JSON.parse(line) as unknown)).toEqual(batches.flat());
  });

  it('begins a new line where a killed process or a full disk left half of one', async () => {
    const path = join(folder, 'cost.ndjson');
    await writeFile(path, '{"v":1,"requ');
    const sink = new NdjsonFileSink({ path });
    await sink.write([recordOf('one')]);
    await sink.close();
    await sink.write([recordOf('two')]);
    await sink.close();
    const [torn, one, two, rest] = (await readFile(path, 'utf8')).split('\n');
    expect(torn).toBe('{"v":1,"requ');
    expect([one, two].map(line => JSON.parse(line!) as unknown)).toEqual([recordOf('one'), recordOf('two')]);
    expect(rest).toBe('');
  });

  it('closes without ever having written, and twice', async () => {
    const path = join(folder, 'cost.ndjson');
    const sink = new NdjsonFileSink({ path });
    await Promise.all([sink.close(), sink.close()]);
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

/** How often this process has the file open, by what Linux tells. */
async function handlesOf(path: string): Promise<number> {
  const fds = await readdir('/proc/self/fd');
  const targets = await Promise.all(fds.map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return targets.filter(target => target === path).length;
}
