/** The PostgreSQL that the global set-up has found or started; of embedded engines, this worker's. */
export function databaseUrl(): string {
  const urls = process.env['TEST_DATABASE_URL']?.split(' ') ?? [];
  const url = urls[(Number(process.env['VITEST_POOL_ID'] ?? 1) - 1) % urls.length];
  if (url === undefined) throw new Error('TEST_DATABASE_URL is not set: run the tests through `npm test`');
  return url;
}

/** Whether it is an embedded engine, which has one session: use one connection at a time. */
export const isEmbedded = process.env['TEST_DATABASE_EMBEDDED'] === 'true';
