import { isBundled } from '../kernel/own-files';
import type { DriverInstrumentation } from '../instrumentation/driver-instrumentation';
import { lazyDriver } from '../instrumentation/lazy-driver';

/**
 * The ORMs that make their queries where no stack leads to the application. Nothing is counted there: it is noted who
 * has called.
 */
export function everyOrm(): DriverInstrumentation[] {
  // It has its packages inside, and no file says which is which.
  if (isBundled) return [];
  return [
    lazyDriver({
      name: 'drizzle-orm calls',
      packages: ['drizzle-orm'],
      hasModuleBuild: true,
      load: () => (require('./orms/drizzle.orm') as typeof import('./orms/drizzle.orm')).drizzleCalls(),
    }),
    lazyDriver({
      name: 'typeorm calls',
      packages: ['typeorm'],
      load: () => (require('./orms/typeorm.orm') as typeof import('./orms/typeorm.orm')).typeormCalls(),
    }),
    lazyDriver({
      name: '@prisma/client calls',
      packages: ['@prisma/client'],
      load: () => (require('./orms/prisma.orm') as typeof import('./orms/prisma.orm')).prismaCalls(),
    }),
  ];
}
