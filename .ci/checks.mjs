// A list of named checks: each prints one line, all of them run, the counts go to a file.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const counts = { passed: 0, failed: 0 };

/** Runs one check; it fails by throwing. Returns what it returned, `undefined` when it failed. */
export async function check(name, run) {
  try {
    const result = await run();
    counts.passed++;
    console.log(`ok      ${name}`);
    return result;
  } catch (error) {
    counts.failed++;
    console.log(`FAILED  ${name}\n${String(error.message ?? error).replace(/^/gm, '        ')}`);
    return undefined;
  }
}

/** Writes the counts and sets the exit code. */
export function report(file) {
  console.log(`${counts.passed} of ${counts.passed + counts.failed} checks passed`);
  if (file !== undefined) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(counts));
  }
  process.exitCode = counts.failed === 0 ? 0 : 1;
}

/** Fails with the list unless it is empty. */
export function none(list, what) {
  if (list.length > 0) throw new Error(`${what}:\n${list.map(item => `  ${item}`).join('\n')}`);
}
