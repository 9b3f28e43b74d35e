import { contextStorage } from '../../context/context-storage';
import type { Carrier } from '../../context/carrier';
import { replaceMethod } from '../../kernel/method-replacement';
import { sharedName } from '../../kernel/protocol';

/** Of the options of a job, as they are kept in Redis. */
const FIELD = 'nestjs-async-context';
/** Where a job has it in this process: its options are those that were given. */
const CARRIER = Symbol.for(sharedName('carrier'));

interface Job {
  opts?: Record<string, unknown>;
  readonly processedOn?: number;
  [CARRIER]?: unknown;
}

interface JobJson {
  readonly opts?: Record<string, unknown>;
}

interface JobClass {
  readonly prototype: object;
}

/**
 * Puts what travels into the options of a job where it is written, and takes it out where it is read:
 * neither its data nor what the application sees of its options is changed.
 *
 * `asJSON()` is where all ways of adding a job pass, but not the templates of job schedulers.
 */
export function carryInJobs(job: JobClass): (() => void)[] {
  return [
    ...replaceMethod<(this: Job) => JobJson>(job.prototype, 'asJSON', original => {
      return function asJSON() {
        const json = original.call(this);
        // One that has begun is handed to a sandbox; one that repeats is asked for by the clock.
        if (this.processedOn !== undefined || this.opts?.['repeat'] !== undefined) return json;
        const carrier = currentCarrier();
        return carrier === undefined ? json : { ...json, opts: { ...json.opts, [FIELD]: carrier } };
      };
    }),
    ...replaceMethod<(this: unknown, ...args: unknown[]) => Job>(job, 'fromJSON', original => {
      return function fromJSON(...args) {
        const read = original.apply(this, args);
        const carrier = read.opts?.[FIELD];
        if (carrier === undefined) return read;
        delete read.opts?.[FIELD];
        return Object.defineProperty(read, CARRIER, { value: carrier, configurable: true });
      };
    }),
  ];
}

/** What has travelled with a job. */
export function carrierOfJob(job: object): unknown {
  return (job as Job)[CARRIER];
}

/** That of the unit of work that runs, as it is now: its user and its values may change between two jobs. */
function currentCarrier(): Carrier | undefined {
  const context = contextStorage.getStore();
  return context?.application.jobCarrierOf?.(context);
}
