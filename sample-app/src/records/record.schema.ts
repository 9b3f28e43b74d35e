import { z } from 'zod';

// What is asked of the table below; newer versions may send more, which is kept.
const recordSchema = z.looseObject({
  v: z.literal(1),
  requestId: z.string().min(1).max(200),
  startedAt: z.iso.datetime(),
  handler: z.string().max(1_000).optional(),
  durationMs: z.number().nonnegative(),
  queries: z.looseObject({ count: z.number().int().nonnegative().max(2_147_483_647) }),
  breaches: z.array(z.unknown()),
});

/** One record as it arrives. */
export type ArrivedRecord = z.infer<typeof recordSchema>;

const MOST = 10_000;

/** The records of a message that can be stored, and how many of it cannot: anybody may write to a broker. */
export function readRecords(data: unknown): { records: ArrivedRecord[]; refused: number } {
  const list: unknown[] = Array.isArray(data) ? data : [data];
  const records = list.slice(0, MOST).flatMap(one => {
    const { success, data: record } = recordSchema.safeParse(one);
    return success ? [record] : [];
  });
  return { records, refused: list.length - records.length };
}
