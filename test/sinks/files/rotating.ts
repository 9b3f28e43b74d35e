import { randomBytes } from 'node:crypto';
import type { CostRecord } from '../../../lib/cost/cost-record';
import { NdjsonFileSink } from '../../../lib/sinks/ndjson-file.sink';

const { path } = JSON.parse(process.argv[2]!) as { path: string };
const sink = new NdjsonFileSink({ path, maxBytes: 4_000_000, gzip: true });

/** Writes without an end, and says what is written. */
async function main(): Promise<void> {
  for (let id = 0; ; id += 10) {
    const ids = Array.from({ length: 10 }, (_, i) => String(id + i));
    const userId = randomBytes(15_000).toString('hex');
    await sink.write(ids.map(requestId => ({ requestId, userId }) as CostRecord));
    console.log(JSON.stringify(ids));
  }
}

void main();
