import { appendFile, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type CostRecord, NdjsonFileSink, type SinkFailure } from 'nestjs-async-context';
import { recordOf } from '../../support/records';
import { OUTAGE_TEST_MS, runOutage } from '../../support/sink-outage';
import { hasSmallDisks, SmallDisk } from '../../support/small-disk';

describe.skipIf(!hasSmallDisks)('a disk that is full or read-only', () => {
  let disk: SmallDisk;

  afterEach(() => disk.remove());

  const ballast = (): string => join(disk.folder, 'ballast');
  async function fill(): Promise<void> {
    for (;;) {
      try {
        await appendFile(ballast(), Buffer.alloc(65_536));
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' });
        return;
      }
    }
  }
  async function idsIn(path: string): Promise<string[]> {
    const lines = (await readFile(path, 'utf8')).split('\n');
    expect(lines.pop()).toBe('');
    return lines.map(line => (JSON.parse(line) as CostRecord).requestId);
  }

  it('leaves no half line, and says how many records are written', async () => {
    disk = new SmallDisk(65_536);
    const path = join(disk.folder, 'cost.ndjson');
    const sink = new NdjsonFileSink({ path });
    const records = Array.from({ length: 200 }, (_, i) => recordOf(String(i)));
    const failure = (await sink.write(records).catch((error: unknown) => error)) as SinkFailure;
    expect(failure).toMatchObject({ code: 'ENOSPC' });
    expect(failure.delivered).toBeGreaterThan(50);
    const written = records.slice(0, failure.delivered).map(({ requestId }) => requestId);
    expect(await idsIn(path)).toEqual(written);
    await expect(sink.write([recordOf('x'.repeat(5_000))])).rejects.toMatchObject({ delivered: 0 });
    expect(await idsIn(path)).toEqual(written);
    await sink.close();
  });

  it('leaves the file as it is while there is no room for its gzip', async () => {
    disk = new SmallDisk(262_144);
    const path = join(disk.folder, 'cost.ndjson');
    const sink = new NdjsonFileSink({ path, maxBytes: 150_000, gzip: true });
    const noise = (): string => Array.from({ length: 4_000 }, () => Math.random().toString(36)[3]).join('');
    await sink.write(Array.from({ length: 30 }, (_, i) => recordOf(String(i), {}, { userId: noise() })));
    await fill();
    const failing = sink.write(Array.from({ length: 30 }, () => recordOf('more', {}, { userId: noise() })));
    await expect(failing).rejects.toMatchObject({ code: 'ENOSPC' });
    await sink.close();
    await rm(ballast());
    expect((await stat(path)).size).toBeGreaterThan(0);
    await sink.write([recordOf('last')]);
    expect((await idsIn(path)).at(-1)).toBe('last');
    await sink.close();
  });

  it('is written to once it may be', async () => {
    disk = new SmallDisk(65_536);
    const path = join(disk.folder, 'cost.ndjson');
    await writeFile(path, '');
    disk.setReadOnly(true);
    const sink = new NdjsonFileSink({ path });
    await expect(sink.write([recordOf('1')])).rejects.toMatchObject({ code: 'EROFS', delivered: 0 });
    disk.setReadOnly(false);
    await sink.write([recordOf('1')]);
    expect(await idsIn(path)).toEqual(['1']);
    await sink.close();
  });

  it(
    'costs no response, and loses only what the queue cannot hold',
    async () => {
      const records = Number(process.env['SINK_RECORDS'] ?? 3_000);
      disk = new SmallDisk(1_000_000 + 1_000 * records);
      const path = join(disk.folder, 'cost.ndjson');
      const result = await runOutage({
        platform: 'fastify',
        sink: new NdjsonFileSink({ path }),
        stop: fill,
        start: () => rm(ballast()),
      });
      if (process.env['SINK_RECORDS'] !== undefined) console.log(JSON.stringify(result, undefined, 1));
      const { stats, inOutage, answers, heapMb } = result;
      expect(stats).toMatchObject({ produced: records, queued: 0 });
      expect(stats.produced).toBe(stats.delivered + stats.dropped);
      // Half a page may still have been free.
      expect(inOutage.delivered).toBeLessThan(Math.floor(records / 3) + 20);
      expect(inOutage.queued).toBeGreaterThan(500);
      const ids = await idsIn(path);
      expect(ids).toHaveLength(stats.delivered);
      expect(new Set(ids).size).toBe(stats.delivered);
      for (const { failed } of Object.values(answers)) expect(failed).toBe(0);
      expect(heapMb.during - heapMb.before).toBeLessThan(20);
    },
    OUTAGE_TEST_MS,
  );
});
