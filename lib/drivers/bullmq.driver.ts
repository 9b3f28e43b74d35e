import type { DriverInstrumentation, QueryReporter } from '../instrumentation/driver-instrumentation';
import { loadedCopies } from '../kernel/loaded-copies';
import { replaceMethod, replaceMethods } from '../kernel/method-replacement';
import { takingBack } from '../kernel/take-back';
import { declaredName, publishCounted } from './published-messages';

const NAME = 'bullmq';

type Add = (this: { readonly name: string }, ...args: unknown[]) => Promise<unknown>;
type AddBulk = (
  this: { readonly name: string },
  jobs: readonly unknown[],
  ...rest: unknown[]
) => Promise<unknown>;
type AddFlow = (this: unknown, flow: Flow, ...rest: unknown[]) => Promise<unknown>;
type AddFlows = (this: unknown, flows: readonly Flow[], ...rest: unknown[]) => Promise<unknown>;

interface Flow {
  readonly queueName?: string;
  readonly children?: readonly Flow[];
}

/** What `bullmqInstrumentation()` of the package installs. */
export function bullmqInstrumentation(): DriverInstrumentation {
  return {
    name: NAME,
    install(reporter) {
      const undo = [...coverQueues(reporter), ...coverFlows(reporter)];
      return takingBack(undo);
    },
  };
}

function coverQueues(reporter: QueryReporter): (() => void)[] {
  return prototypes('dist/cjs/classes/queue.js', 'Queue').flatMap(prototype => [
    ...replaceMethods<Add>([prototype], 'add', original => {
      return function add(...args) {
        return publishCounted(reporter, [declaredName(this.name)], add, () => original.apply(this, args));
      };
    }),
    ...replaceMethods<AddBulk>([prototype], 'addBulk', original => {
      return function addBulk(jobs, ...rest) {
        const target = declaredName(this.name);
        const targets = Array.from(jobs ?? [], () => target);
        return publishCounted(reporter, targets, addBulk, () => original.call(this, jobs, ...rest));
      };
    }),
  ]);
}

function coverFlows(reporter: QueryReporter): (() => void)[] {
  return prototypes('dist/cjs/classes/flow-producer.js', 'FlowProducer').flatMap(prototype => [
    ...replaceMethod<AddFlow>(prototype, 'add', original => {
      return function add(flow, ...rest) {
        return publishCounted(reporter, queuesOf(flow), add, () => original.call(this, flow, ...rest));
      };
    }),
    ...replaceMethod<AddFlows>(prototype, 'addBulk', original => {
      return function addBulk(flows, ...rest) {
        const targets = Array.from(flows ?? [], queuesOf).flat();
        return publishCounted(reporter, targets, addBulk, () => original.call(this, flows, ...rest));
      };
    }),
  ]);
}

function prototypes(file: string, name: string): object[] {
  return loadedCopies(NAME, file).flatMap(copy => {
    const { prototype } = (copy as Record<string, { prototype: object } | undefined>)[name] ?? {};
    return prototype === undefined ? [] : [prototype];
  });
}

function queuesOf(flow: Flow): string[] {
  return [declaredName(flow?.queueName), ...(flow?.children ?? []).flatMap(queuesOf)];
}
