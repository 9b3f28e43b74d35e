import { types } from 'node:util';
import { ApplicationRuntime } from './application-runtime';
import type { ProviderTracer } from '../detectors/calls/provider-tracer';

/** Value of Nest's option `instrument`. */
export interface ProviderInstrument {
  /** Nest calls this with each instance that it creates; it returns the same instance. */
  readonly instanceDecorator: (instance: unknown) => unknown;
}

/**
 * Makes Nest hand over each provider that it creates, so that `forRoot({ providerCalls: true })` counts the calls
 * of its methods. Without that option, providers are left unchanged.
 *
 * @example
 * const app = await NestFactory.create(AppModule, { instrument: traceProviders() });
 */
export function traceProviders(): ProviderInstrument {
  let tracer: ProviderTracer | undefined;
  return {
    instanceDecorator: instance => {
      // A proxy may throw whatever it is asked, `instanceof` included: nestjs-cls has such providers.
      if (types.isProxy(instance)) return instance;
      if (instance instanceof ApplicationRuntime) {
        tracer = instance.tracer;
        if (tracer !== undefined) tracer.hasInstrument = true;
      } else {
        tracer?.trace(instance);
      }
      return instance;
    },
  };
}
