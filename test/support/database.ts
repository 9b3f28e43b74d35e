/** The PostgreSQL that the global set-up has found or started. */
export function databaseUrl(): string {
  const url = process.env['TEST_DATABASE_URL'];
  if (url === undefined) throw new Error('TEST_DATABASE_URL is not set: run the tests through `npm test`');
  return url;
}

/** Whether it is the embedded engine, which runs one statement at a time. */
export const isEmbedded = process.env['TEST_DATABASE_EMBEDDED'] === 'true';
