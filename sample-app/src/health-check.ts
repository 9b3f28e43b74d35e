/** Asks the server of this container whether it is ready; exit code 0 for yes. */
async function main(): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${process.env['PORT'] ?? 3_000}/health/ready`, {
    signal: AbortSignal.timeout(2_000),
  });
  process.exitCode = response.ok ? 0 : 1;
}

main().catch(() => (process.exitCode = 1));
