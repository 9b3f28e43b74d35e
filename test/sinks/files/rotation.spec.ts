import { mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type NdjsonFileOptions, type CostRecord, NdjsonFileSink } from 'nestjs-async-context';
import { recordOf } from '../../support/records';

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z`;
/** Longer than the least that a file may hold. */
const paddedOf = (id: string): CostRecord => recordOf(id, {}, { userId: 'u'.repeat(1_000) });
const lineOf = (id: string): string => `${JSON.stringify(paddedOf(id))}\n`;
const LINE = lineOf('1234').length;

describe('rotation of files', () => {
  let folder: string;
  let path: string;
  const sinks: NdjsonFileSink[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rotation-'));
    path = join(folder, 'cost.ndjson');
  });
  afterEach(async () => {
    vi.useRealTimers();
    await Promise.all(sinks.splice(0).map(sink => sink.close()));
    await rm(folder, { recursive: true, force: true });
  });

  function sinkOf(options: Partial<NdjsonFileOptions>): NdjsonFileSink {
    const sink = new NdjsonFileSink({ path, ...options });
    sinks.push(sink);
    return sink;
  }

  /** The ids in each file, by the order of its name; the one that is written comes last. */
  async function ids(): Promise<string[][]> {
    const names = (await readdir(folder)).filter(name => name !== 'cost.ndjson').toSorted();
    const files = await Promise.all([...names, 'cost.ndjson'].map(name => readFile(join(folder, name))));
    return files.map((bytes, i) => {
      const text = (names[i]?.endsWith('.gz') === true ? gunzipSync(bytes) : bytes).toString();
      const lines = text.split('\n');
      expect(lines.pop()).toBe('');
      return lines.map(line => (JSON.parse(line) as CostRecord).requestId);
    });
  }

  const rotated = (ending = ''): RegExp => new RegExp(`^cost\\.${TIME}\\.ndjson${ending}$`);
  const others = async (): Promise<string[]> =>
    (await readdir(folder)).filter(name => name !== 'cost.ndjson').toSorted();

  it('begins another file before the one that would pass maxBytes, within a batch too', async () => {
    const sink = sinkOf({ maxBytes: 2 * LINE });
    await sink.write(['1001', '1002'].map(id => paddedOf(id)));
    expect(await others()).toEqual([]);
    await sink.write(['1003', '1004', '1005', '1006', '1007'].map(id => paddedOf(id)));
    expect(await ids()).toEqual([['1001', '1002'], ['1003', '1004'], ['1005', '1006'], ['1007']]);
    for (const name of await others()) {
      expect(name).toMatch(rotated());
      expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    }
  });

  it('writes a record that is larger than a file may be to a file of its own', async () => {
    const sink = sinkOf({ maxBytes: 1_024 });
    const large = recordOf('large', {}, { userId: 'u'.repeat(2_000) });
    await sink.write([paddedOf('1'), large, paddedOf('2')]);
    expect(await ids()).toEqual([['1'], ['large'], ['2']]);
  });

  it.each([
    ['hour', '2026-11-20T12:59:59.999Z', '2026-11-20T13:00:00.000Z'],
    ['day', '2026-11-20T23:59:59.999Z', '2026-11-21T00:00:00.000Z'],
    [1_000, '2026-11-20T12:00:00.999Z', '2026-11-20T12:00:01.000Z'],
  ] as const)('begins another file with each %s', async (rotateEvery, last, next) => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const sink = sinkOf({ rotateEvery });
    vi.setSystemTime(new Date(last).getTime() - 999);
    await sink.write([paddedOf('1')]);
    vi.setSystemTime(new Date(last));
    await sink.write([paddedOf('2')]);
    expect(await others()).toEqual([]);
    vi.setSystemTime(new Date(next));
    await sink.write([paddedOf('3')]);
    expect(await ids()).toEqual([['1', '2'], ['3']]);
    expect(await others()).toEqual([`cost.${next.replaceAll(':', '-')}.ndjson`]);
  });

  it('puts away a file that an earlier process has left, when its time is up', async () => {
    await writeFile(path, lineOf('old'));
    const yesterday = new Date(Date.now() - 86_400_000);
    await utimes(path, yesterday, yesterday);
    const sink = sinkOf({ rotateEvery: 'day' });
    await sink.write([paddedOf('new')]);
    expect(await ids()).toEqual([['old'], ['new']]);
  });

  it('has names that sort by time, also for two files of one millisecond', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const sink = sinkOf({ maxBytes: LINE });
    const many = Array.from({ length: 30 }, (_, i) => String(1_000 + i));
    await sink.write(many.map(id => paddedOf(id)));
    expect((await ids()).flat()).toEqual(many);
    expect(await others()).toHaveLength(29);
  });

  it('compresses what is full, and keeps the last three', async () => {
    const sink = sinkOf({ maxBytes: 2 * LINE, gzip: true, maxFiles: 3 });
    const many = Array.from({ length: 20 }, (_, i) => String(1_000 + i));
    for (const id of many) await sink.write([paddedOf(id)]);
    await vi.waitFor(async () => {
      const names = await others();
      expect(names).toHaveLength(3);
      for (const name of names) expect(name).toMatch(rotated(String.raw`\.gz`));
    });
    expect((await ids()).flat()).toEqual(many.slice(-8));
    for (const name of await others()) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
  });

  it('does not wait for the compression of a file', async () => {
    const sink = sinkOf({ maxBytes: 2_000_000, gzip: true });
    const large = Array.from({ length: 80 }, (_, i) =>
      recordOf(`${i}`, {}, { userId: `${Math.random()}`.repeat(2_500) }),
    );
    await sink.write(large);
    expect((await others()).some(name => rotated(String.raw`\.gz`).test(name))).toBe(false);
    await vi.waitFor(async () => {
      expect((await others()).every(name => name.endsWith('.gz'))).toBe(true);
      expect((await others()).length).toBeGreaterThan(0);
    });
    expect((await ids()).flat()).toHaveLength(80);
  });

  it('stops compressing when it is closed, and goes on with that at the next start', async () => {
    const sink = sinkOf({ maxBytes: 2_000_000, gzip: true });
    const large = Array.from({ length: 80 }, (_, i) =>
      recordOf(`${i}`, {}, { userId: `${Math.random()}`.repeat(2_500) }),
    );
    await sink.write(large);
    await sink.close();
    const left = await others();
    expect(left.filter(name => !rotated().test(name) && !rotated(String.raw`\.gz`).test(name))).toEqual([]);
    await sinkOf({ gzip: true }).write([paddedOf('next')]);
    await vi.waitFor(async () =>
      expect((await others()).every(name => rotated(String.raw`\.gz`).test(name))).toBe(true),
    );
    expect((await ids()).flat()).toHaveLength(81);
  });

  it('finishes what a process has left that was killed while it compressed', async () => {
    const name = (hour: number): string => join(folder, `cost.2026-11-20T${hour}-00-00.000Z.ndjson`);
    const gzip = gzipSync(lineOf('one'));
    await writeFile(name(10), lineOf('one'));
    await writeFile(`${name(10)}.gz`, gzip);
    await writeFile(name(11), lineOf('two'));
    await writeFile(`${name(11)}.gz.tmp`, gzipSync(lineOf('two')).subarray(0, 30));
    await writeFile(`${name(12)}.gz.tmp`, 'x');
    await sinkOf({ gzip: true }).write([paddedOf('three')]);
    await vi.waitFor(async () =>
      expect(await others()).toEqual([10, 11].map(hour => `${name(hour).slice(folder.length + 1)}.gz`)),
    );
    expect(await ids()).toEqual([['one'], ['two'], ['three']]);
  });

  it('removes no file but its own', async () => {
    const strangers = [
      'cost.2026.ndjson',
      'cost.ndjson.gz',
      'cost.2026-11-20T10-00-00.000Z.txt',
      'costs.2026-11-20T10-00-00.000Z.ndjson',
      'cost.a.2026-11-20T10-00-00.000Z.ndjson',
    ];
    await Promise.all(strangers.map(stranger => writeFile(join(folder, stranger), '')));
    const sink = sinkOf({ maxBytes: LINE, maxFiles: 1, gzip: true });
    for (const id of ['1001', '1002', '1003']) await sink.write([paddedOf(id)]);
    await vi.waitFor(async () => expect(await others()).toHaveLength(strangers.length + 1));
    expect(await others()).toEqual(expect.arrayContaining(strangers));
  });

  it('goes on in a new file when another program has moved it away', async () => {
    const sink = sinkOf({});
    await sink.write([paddedOf('1')]);
    await rename(path, join(folder, 'cost.ndjson.1'));
    await sink.write([paddedOf('2')]);
    expect(await readFile(join(folder, 'cost.ndjson.1'), 'utf8')).toBe(lineOf('1'));
    expect(await readFile(path, 'utf8')).toBe(lineOf('2'));
  });

  it('goes on when another program has made a new file in its place', async () => {
    const sink = sinkOf({});
    await sink.write([paddedOf('1')]);
    await rename(path, join(folder, 'cost.ndjson.1'));
    await writeFile(path, '');
    await sink.write([paddedOf('2')]);
    expect(await readFile(path, 'utf8')).toBe(lineOf('2'));
  });

  it('makes its folder again when it has vanished', async () => {
    path = join(folder, 'logs', 'cost.ndjson');
    const sink = sinkOf({ maxBytes: 1_024 });
    await sink.write([paddedOf('1')]);
    await rm(join(folder, 'logs'), { recursive: true });
    await sink.write([paddedOf('2')]);
    expect(await readFile(path, 'utf8')).toBe(lineOf('2'));
  });

  it('writes on in the same file while it cannot give it another name', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const sink = sinkOf({ maxBytes: LINE });
    await sink.write([paddedOf('1001')]);
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const move = vi.spyOn(Date.prototype, 'toISOString').mockReturnValue('/in-the-way/no/such/folder');
    await sink.write([paddedOf('1002')]);
    move.mockRestore();
    expect(warn.mock.calls.join()).toContain('failed and was ignored: Error (ENOENT)');
    warn.mockRestore();
    expect(await readFile(path, 'utf8')).toBe(lineOf('1001') + lineOf('1002'));
    await sink.write([paddedOf('1003')]);
    expect(await readFile(path, 'utf8')).toBe(lineOf('1003'));
  });

  it.each<[object, string]>([
    [{ path: '' }, 'path'],
    [{ maxBytes: 1_023 }, 'maxBytes'],
    [{ maxBytes: 2_000.5 }, 'maxBytes'],
    [{ rotateEvery: 'week' }, 'rotateEvery'],
    [{ rotateEvery: 'constructor' }, 'rotateEvery'],
    [{ rotateEvery: 999 }, 'rotateEvery'],
    [{ gzip: 'yes' }, 'gzip'],
    [{ maxFiles: 0 }, 'maxFiles'],
    [{ maxSize: 5 }, 'maxSize'],
  ])('refuses %j', (options, name) => {
    expect(() => sinkOf(options)).toThrow(
      `ASYNC_CONTEXT_INVALID_OPTION: new NdjsonFileSink({ ${name} }) is `,
    );
  });

  it.each<object>([{ maxBytes: 1_024, rotateEvery: 1_000, maxFiles: 1 }])('accepts %j', options => {
    expect(() => sinkOf(options)).not.toThrow();
  });
});
