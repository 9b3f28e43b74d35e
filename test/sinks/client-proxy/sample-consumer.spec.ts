import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRecords } from '../../../sample-app/src/records/record.schema';
import { brokerAt, recordsTo } from '../../../sample-app/src/records/broker';
import { RecordsModule } from '../../../sample-app/src/records/records.module';
import { startBroker } from '../../support/broker';
import { databaseUrl } from '../../support/database';
import { canStart, type OwnServer, SERVERS } from '../../support/own-server';
import { recordOf } from '../../support/records';

const id = (i: number) => `nac-${process.pid}-${i}`;
const records = (count: number, from = 0) => Array.from({ length: count }, (_, i) => recordOf(id(from + i)));

describe.runIf(canStart(SERVERS.nats))('the consumer of the sample application', () => {
  const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  let server: OwnServer;
  let close: () => Promise<void>;

  beforeAll(async () => {
    Logger.overrideLogger(false);
    server = await startBroker('nats');
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(RecordsModule.forRoot(pool), {
      ...brokerAt(`nats://127.0.0.1:${server.port}`),
      logger: false,
    });
    await app.listen();
    close = () => app.close();
  });
  afterAll(async () => {
    await pool.query('DELETE FROM public.received_cost_records WHERE request_id LIKE $1', [
      `nac-${process.pid}-%`,
    ]);
    await close();
    await pool.end();
    await server.remove();
  });

  const stored = async (): Promise<{ request_id: string; record: unknown }[]> =>
    (
      await pool.query<{ request_id: string; record: unknown }>(
        'SELECT request_id, record FROM public.received_cost_records WHERE request_id LIKE $1 ORDER BY started_at, request_id',
        [`nac-${process.pid}-%`],
      )
    ).rows;

  it('has stored what was delivered, whole, and once, however often it came', async () => {
    const sink = recordsTo(`nats://127.0.0.1:${server.port}`);
    await sink.write(records(600));
    await sink.write(records(100, 550));
    await sink.close();
    const rows = await stored();
    expect(rows).toHaveLength(650);
    expect(rows.find(({ request_id }) => request_id === id(7))?.record).toEqual(recordOf(id(7)));
  });

  it('stores what PostgreSQL has no text for with a sign in its place', async () => {
    const sink = recordsTo(`nats://127.0.0.1:${server.port}`);
    await sink.write([recordOf(id(9_000), {}, { error: 'a\0b\\u0000' })]);
    await sink.close();
    const [row] = (await stored()).filter(({ request_id }) => request_id === id(9_000));
    expect(row?.record).toMatchObject({ error: 'a\uFFFDb\\u0000' });
  });
});

describe('what arrives', () => {
  it.each<[string, unknown, number, number]>([
    ['a list', records(2), 2, 0],
    ['one record', recordOf('one'), 1, 0],
    ['a record with more than is known', { ...recordOf('more'), later: { than: 1 } }, 1, 0],
    ['nothing', undefined, 0, 1],
    ['a text', 'drop table', 0, 1],
    ['another version', { ...recordOf('two'), v: 2 }, 0, 1],
    ['no time', { ...recordOf('time'), startedAt: 'yesterday' }, 0, 1],
    ['one of two', [recordOf('good'), { requestId: 'bad' }], 1, 1],
    ['ten thousand and one', Array(10_001).fill(recordOf('many')), 10_000, 1],
  ])('is read: %s', (_what, data, kept, refused) => {
    const read = readRecords(data);
    expect([read.records.length, read.refused]).toEqual([kept, refused]);
  });
});
