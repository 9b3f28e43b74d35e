import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
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
    const record = recordOf('one', {}, { userId: 'a\nb\r\u0000\u001b[31m"\\\u2028\ud800', error: '\u0007' });
    await sink.write([record]);
    await sink.close();
    const text = await readFile(path, 'utf8');
    expect([...text].filter(c => c < ' ')).toEqual(['\n']);
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
});
