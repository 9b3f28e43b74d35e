import type { ContextService } from '../context/context.service';
import type { ProcessFigures } from '../record/process-figures';
import type { ResourceMonitor } from '../detectors/resources/resource-monitor';
import type { GuardKit } from '../guards/guard-kit';
import type { ProviderTracer } from '../detectors/calls/provider-tracer';

/**
 * What the module provides the runtime of an application as. Apart from its class, whose 200 files are loaded with
 * the first application: what only declares budgets, keys or guards goes without them.
 */
export abstract class ApplicationRuntime {
  abstract readonly contextService: ContextService;
  abstract readonly processFigures: ProcessFigures;
  abstract readonly resourceMonitor: ResourceMonitor;
  abstract readonly guardKit: GuardKit;
  /** Absent without `forRoot({ providerCalls: true })`. */
  abstract readonly tracer: ProviderTracer | undefined;
}
