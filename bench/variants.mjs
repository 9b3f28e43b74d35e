import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';

/** A variant that cannot run here: the run prints the reason and goes on without it. */
export class UnavailableError extends Error {}

/** The library as it was built last; the benchmark measures what is published, not the sources. */
export async function importLibrary() {
  const library = await import('../dist/index.js').catch(error => {
    throw new UnavailableError(`dist/index.js does not load (${error.message}): npm run build`);
  });
  if (!library.AsyncContextModule) {
    throw new UnavailableError('dist/index.js has no AsyncContextModule: npm run build');
  }
  return library;
}

async function ours(options) {
  const { AsyncContextModule, ContextService, traceProviders } = await importLibrary();
  return {
    imports: [AsyncContextModule.forRoot(options)],
    createOptions: options.providerCalls ? { instrument: traceProviders() } : {},
    evidence: app => {
      const context = app.get(ContextService, { strict: false });
      const calls = context.cost?.providerCalls().find(({ call }) => call === 'OrdersService.find')?.count;
      const { queries, cache, http } = context.cost ?? {};
      return { context: context.isActive, queries, cache, http, calls };
    },
  };
}

/**
 * What is compared. Each function returns what the variant adds to the bare application; packages are
 * imported only by the variant that needs them. `expects` is what its handler must be able to show.
 */
export const VARIANTS = {
  bare: {
    label: 'bare Nest',
    create: () => ({}),
  },
  interceptor: {
    label: 'empty global interceptor',
    create: () => ({
      setUp: app => app.useGlobalInterceptors({ intercept: (_context, next) => next.handle() }),
    }),
  },
  raw: {
    label: 'raw AsyncLocalStorage in the request hook',
    expects: { context: true },
    create: () => {
      const storage = new AsyncLocalStorage();
      return {
        setUp: app =>
          app
            .getHttpAdapter()
            .setOnRequestHook((_request, _response, done) => storage.run({ id: randomUUID() }, done)),
        evidence: () => ({ context: storage.getStore() !== undefined }),
      };
    },
  },
  cls: {
    label: 'nestjs-cls 7, middleware, own id',
    expects: { context: true },
    create: async () => {
      const { ClsModule, ClsServiceManager } = await import('nestjs-cls-7');
      return {
        imports: [
          ClsModule.forRoot({
            global: true,
            middleware: { mount: true, generateId: true, idGenerator: () => randomUUID() },
          }),
        ],
        evidence: () => ({ context: ClsServiceManager.getClsService().getId() !== undefined }),
      };
    },
  },
  observe: {
    label: '@nestjs/observe',
    expects: { context: true },
    create: async () => {
      const { createObserveModule } = await import('@nestjs/observe');
      const { ObserveModule, ObserveInstrument } = createObserveModule();
      return {
        imports: [
          ObserveModule.forRoot({
            appKey: 'bench',
            appSecret: 'bench',
            serviceId: 'bench',
            // A collector on loopback, in the process of the run: nothing leaves the machine.
            endpoint: process.env.BENCH_COLLECTOR,
          }),
        ],
        createOptions: { instrument: ObserveInstrument },
        evidence: app => ({
          context: app.get(AsyncLocalStorage, { strict: false }).getStore() !== undefined,
        }),
      };
    },
  },
  otel: {
    label: 'OpenTelemetry http + nestjs-core + pg',
    expects: { span: 'evidence', pgWrapped: true },
    // The hooks have to be in place before the first import of Nest and pg: see server.mjs.
    preload: './otel.mjs',
    create: async () => {
      const { evidence } = await import('./otel.mjs');
      return { evidence };
    },
  },
  context: {
    label: 'nestjs-async-context, context only',
    expects: { context: true },
    create: () => ours({ instrumentations: [] }),
  },
  trace: {
    label: 'nestjs-async-context, context and trace',
    expects: { context: true, calls: 1 },
    create: () => ours({ instrumentations: [], providerCalls: true }),
  },
  budget: {
    label: 'nestjs-async-context, budget and pg',
    expects: { context: true, queries: 1 },
    create: () =>
      ours({
        budget: { queries: 1000 },
        slowAfterMs: 0,
        stallMs: 0,
        lateAfterMs: 0,
        poolWaitMs: 0,
        connectionLeakMs: 0,
      }),
  },
  diagnosis: {
    label: 'nestjs-async-context, budget, pg and diagnosis',
    expects: { context: true, queries: 1 },
    create: () => ours({ budget: { queries: 1000 }, serverTiming: true, answerUnhandledErrors: true }),
  },
};

/**
 * What `real.mjs` compares. Those with `counts` have to count in the handler what the handler says that it asks;
 * those with `handlers` are made for these alone.
 */
export const REAL_VARIANTS = {
  bare: VARIANTS.bare,
  bare2: { ...VARIANTS.bare, label: 'bare Nest again (the control)' },
  raw: VARIANTS.raw,
  floor: {
    label: 'the floor: counted in 80 lines',
    expects: { context: true },
    counts: true,
    handlers: ['pg-query', 'pg-shapes'],
    create: async () => (await import('./floor.mjs')).floor(),
  },
  cls: VARIANTS.cls,
  otel: { ...VARIANTS.otel, label: 'OpenTelemetry http + nestjs-core + the driver' },
  observe: VARIANTS.observe,
  context: VARIANTS.context,
  counting: {
    ...VARIANTS.budget,
    label: 'nestjs-async-context, counting',
    expects: { context: true },
    counts: true,
  },
  default: {
    label: 'nestjs-async-context, as by default',
    expects: { context: true },
    counts: true,
    create: () => ours({}),
  },
};

/** What `resources.mjs` compares: the resource monitor off, and on with the shares that it looks at. */
export const MONITOR_VARIANTS = Object.fromEntries(
  [0, 0.01, 0.1, 1].map(sample => [
    `monitor-${sample}`,
    {
      label: sample === 0 ? 'off' : `on, sample ${sample}`,
      create: () => ours({ instrumentations: [], ...(sample > 0 && { resourceMonitor: { sample } }) }),
    },
  ]),
);

/** Counts what goes to the log, and puts it where nobody reads. */
async function countLog() {
  const { openSync, writeSync } = await import('node:fs');
  const nowhere = openSync('/dev/null', 'w');
  let bytes = 0;
  const write = chunk => {
    bytes += writeSync(nowhere, chunk);
    return true;
  };
  process.stdout.write = write;
  process.stderr.write = write;
  return () => ({ logBytes: bytes });
}

const NO_REPORTS = { slowAfterMs: 0, stallMs: 0, lateAfterMs: 0 };

/** What `reports.mjs` compares: an outage in which each request is slow, and with it over its budget. */
export const REPORT_VARIANTS = Object.fromEntries(
  [
    ['off', 'slowAfterMs: 0', NO_REPORTS],
    ['slow', 'each is slow', { ...NO_REPORTS, slowAfterMs: 1 }],
    ['breach', 'each is slow and over its budget', { ...NO_REPORTS, slowAfterMs: 1, budget: { queries: 5 } }],
  ].map(([name, label, options]) => [
    `reports-${name}`,
    { label, create: async () => ({ ...(await ours(options)), usage: await countLog() }) },
  ]),
);
