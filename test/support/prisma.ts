import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Makes the client of a schema, which is written to `.cache/<output>/client.ts`, and imports its class. */
export async function generatePrisma<T>(
  schema: string,
  output: string,
): Promise<new (options: unknown) => T> {
  const cli = createRequire(import.meta.url).resolve('prisma/build/index.js');
  // The schema engine is a download and is needed for migrations only.
  execFileSync(process.execPath, [cli, 'generate', '--schema', `${root}${schema}`], {
    cwd: root,
    env: {
      ...process.env,
      PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true',
      PRISMA_HIDE_UPDATE_MESSAGE: '1',
      CHECKPOINT_DISABLE: '1',
    },
  });
  const path = `${root}.cache/${output}/client.ts`;
  const { PrismaClient } = (await import(/* @vite-ignore */ path)) as {
    PrismaClient: new (options: unknown) => T;
  };
  return PrismaClient;
}
