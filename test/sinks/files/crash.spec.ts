import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type CostRecord, NdjsonFileSink } from 'nestjs-async-context';
import { Programs } from '../../support/child';
import { recordOf } from '../../support/records';

let programs: Programs;
let folder: string;

beforeAll(async () => {
  programs = new Programs('test/sinks/files/rotating.ts');
  folder = await mkdtemp(join(tmpdir(), 'crash-'));
});
afterAll(async () => {
  programs.remove();
  await rm(folder, { recursive: true });
});

async function idsIn(names: readonly string[]): Promise<string[]> {
  const ids: string[] = [];
  for (const name of names) {
    const bytes = await readFile(join(folder, name));
    const text = (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
    for (const line of text.trimEnd().split('\n')) ids.push((JSON.parse(line) as CostRecord).requestId);
  }
  return ids;
}

it('loses nothing that was written when its process is killed while it compresses', async () => {
  const path = join(folder, 'cost.ndjson');
  const child = programs.start<string[]>('test/sinks/files/rotating.ts', { path });
  const find = async (ending: string): Promise<string[]> =>
    (await readdir(folder)).filter(name => name.endsWith(ending));
  await vi.waitFor(async () => expect((await find('.ndjson.gz')).length).toBeGreaterThan(1), {
    timeout: 240_000,
    interval: 1,
  });
  await vi.waitFor(async () => expect(await find('.gz.tmp')).toHaveLength(1), {
    timeout: 240_000,
    interval: 1,
  });
  await child.stop();

  const gzips = await find('.gz');
  const plain = (await find('.ndjson')).filter(name => !gzips.includes(`${name}.gz`));
  const found = new Set(await idsIn([...gzips, ...plain]));
  const said = child.said.flat();
  expect(said.length).toBeGreaterThan(200);
  expect(said.filter(id => !found.has(id))).toEqual([]);

  const sink = new NdjsonFileSink({ path, gzip: true });
  await sink.write([recordOf('next')]);
  await vi.waitFor(
    async () => {
      expect(await find('.tmp')).toEqual([]);
      expect(await find('.ndjson')).toEqual(['cost.ndjson']);
    },
    { timeout: 240_000 },
  );
  const all = await idsIn([...(await find('.gz')), 'cost.ndjson']);
  expect(new Set(all)).toEqual(found.add('next'));
  expect(all).toHaveLength(found.size);
  await sink.close();
}, 900_000);
