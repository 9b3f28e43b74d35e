import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** Writes `bench/results/<name>.json`. */
export function save(name, version, results) {
  const directory = new URL('./results/', import.meta.url);
  mkdirSync(directory, { recursive: true });
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length };
  const saved = { node: version, measuredAt: new Date().toISOString(), machine, ...results };
  writeFileSync(new URL(`${name}.json`, directory), `${JSON.stringify(saved, null, 2)}\n`);
  console.log(`\nsaved: bench/results/${name}.json`);
}
