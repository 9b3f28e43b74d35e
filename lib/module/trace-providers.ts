import { types } from 'node:util';
import { ApplicationRuntime } from './application-runtime';
import type { ProviderTracer } from '../detectors/calls/provider-tracer';

/** What Nest's option `instrument` takes. */
export interface ProviderInstrument {
  /** Called by Nest with each instance that it makes; gives back the same one. */
  readonly instanceDecorator: (instance: unknown) => unknown;
}

/**
 * Lets Nest hand over each provider that it makes, so that `forRoot({ providerCalls: true })` counts the calls
 * of its methods. Without that option nothing is done to any provider.
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
