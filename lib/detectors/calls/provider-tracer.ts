import type { ModulesContainer } from '@nestjs/core';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { traceProvider } from './traced-provider';

const NO_INSTRUMENT =
  'providerCalls: true counts only the calls of providers that exist at startup, because Nest does not announce later ' +
  'ones. To include request-scoped providers and lazy modules, pass NestFactory.create(AppModule, ' +
  '{ instrument: traceProviders() }), which needs Nest 11.1.4 or later.';

/** Traces the providers of one application. */
export class ProviderTracer {
  /** Whether Nest hands over each instance that it makes. */
  hasInstrument = false;
  readonly #hookErrors: HookErrorReporter;

  constructor(hookErrors: HookErrorReporter) {
    this.#hookErrors = hookErrors;
  }

  /** What there is to be said at the start. */
  get warning(): string | undefined {
    return this.hasInstrument ? undefined : NO_INSTRUMENT;
  }

  trace(instance: unknown): void {
    this.#hookErrors.guard('providerCalls', () => traceProvider(instance));
  }

  /**
   * Those that were made before this, and all of a testing module: `TestingModuleBuilder#compile()`
   * (11.2 and 12.1) hands its option `instrument` on to none of the classes that it makes.
   */
  traceAll(modules: ModulesContainer): void {
    for (const module of modules.values()) {
      for (const wrapper of [...module.providers.values(), ...module.injectables.values()]) {
        this.trace(wrapper.instance);
        for (const host of wrapper.getStaticTransientInstances()) this.trace(host?.instance);
      }
    }
  }
}
