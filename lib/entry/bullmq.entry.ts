import 'reflect-metadata';
import { types } from 'node:util';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { oncePerProcess } from '../kernel/once-per-process';
import { loadedCopies } from '../kernel/loaded-copies';
import { declaredName, withoutIds } from '../drivers/published-messages';
import { replaceMethod } from '../kernel/method-replacement';
import { takeBack } from '../kernel/take-back';
import { carrierOfJob, carryInJobs } from '../propagation/jobs/bullmq-carrier';
import type { Handler } from '../handlers/handlers';
import { runTask } from '../units/task-run';
import type { UnitsOfWork } from '../units/units-of-work';

/** What `@Processor()` of `@nestjs/bullmq` writes on a class. */
const PROCESSOR = 'bullmq:processor_metadata';
/** How a processor says that its job goes on later: https://docs.bullmq.io/patterns/process-step-jobs */
const NO_ERRORS: ReadonlySet<string> = new Set([
  'DelayedError',
  'RateLimitError',
  'WaitingChildrenError',
  'WaitingError',
]);

interface Worker {
  readonly name: string;
  /** Only of a worker whose processor is a file, which runs elsewhere. */
  readonly childPool?: unknown;
}

type CallProcessJob = (this: Worker, job: { readonly name: string }, ...rest: unknown[]) => unknown;

/** Whose work a worker does. */
interface WorkerOwner {
  readonly units: UnitsOfWork;
  readonly type: unknown;
  readonly handler: Handler | undefined;
}

interface Shared {
  readonly users: Map<UnitsOfWork, ModulesContainer>;
  undo: (() => void)[];
}

/**
 * Gives each run of a job of `bullmq` a unit of work of its own, below the one that has added the job.
 *
 * The classes are shared by all applications of a process: the last takes it back.
 */
export class BullmqEntry {
  readonly #shared = oncePerProcess<Shared>('bullmq', () => ({ users: new Map(), undo: [] }));

  /** Called again, it also finds what was loaded since. */
  install(): void {
    const { users, undo } = this.#shared;
    const owners = new WeakMap<Worker, WorkerOwner>();
    for (const { Worker } of classes<{ Worker?: { prototype: object } }>('worker')) {
      if (Worker === undefined) continue;
      undo.push(
        ...replaceMethod<CallProcessJob>(Worker.prototype, 'callProcessJob', original =>
          cover(original, users, owners),
        ),
      );
    }
    for (const { Job } of classes<{ Job?: { prototype: object } }>('job')) {
      if (Job !== undefined) undo.push(...carryInJobs(Job));
    }
  }

  /** From now on the jobs of an application are its own; it is kept until it is closed. */
  use(modules: ModulesContainer, units: UnitsOfWork): void {
    this.#shared.users.set(units, modules);
  }

  /** @param units absent for an application that has never begun */
  uninstall(units?: UnitsOfWork): void {
    const { users, undo } = this.#shared;
    if (units !== undefined) users.delete(units);
    if (users.size > 0) return;
    this.#shared.undo = [];
    takeBack(undo);
  }
}

function cover(
  original: CallProcessJob,
  users: Shared['users'],
  owners: WeakMap<Worker, WorkerOwner>,
): CallProcessJob {
  return function callProcessJob(job, ...rest) {
    let owner = owners.get(this);
    if (owner === undefined || !users.has(owner.units)) {
      owner = this.childPool === undefined ? ownerOf(this, users) : undefined;
      if (owner === undefined) return original.call(this, job, ...rest);
      owners.set(this, owner);
    }
    const { units, type, handler } = owner;
    const carrier = units.propagatesJobs ? carrierOfJob(job) : undefined;
    const start = {
      task: { type, key: 'process', subject: job },
      handler,
      route: `${declaredName(this.name)}:${withoutIds(String(job.name))}`,
      carrier,
      noErrors: NO_ERRORS,
    };
    return runTask(units, start, () => original.call(this, job, ...rest));
  };
}

/** A worker that no processor class has is whoever's there is only one of. */
function ownerOf(worker: Worker, users: Shared['users']): WorkerOwner | undefined {
  for (const [units, modules] of users) {
    for (const module of modules.values()) {
      for (const { instance } of module.providers.values()) {
        const type = processorType(instance);
        if (type === undefined || !works(instance, worker)) continue;
        return { units, type, handler: units.handlers.of(type, 'process', module.metatype) };
      }
    }
  }
  const [units, another] = users.keys();
  if (units === undefined || another !== undefined) return undefined;
  return { units, type: undefined, handler: undefined };
}

function processorType(instance: unknown): Type | undefined {
  // A proxy may throw whatever it is asked: nestjs-cls has such providers.
  if (types.isProxy(instance)) return undefined;
  const type = (instance as object | null | undefined)?.constructor;
  return typeof type === 'function' && Reflect.hasMetadata(PROCESSOR, type) ? (type as Type) : undefined;
}

function works(instance: unknown, worker: Worker): boolean {
  try {
    return (instance as { readonly worker?: unknown }).worker === worker;
  } catch {
    // It has none yet.
    return false;
  }
}

function classes<T>(file: string): T[] {
  return loadedCopies('bullmq', `dist/cjs/classes/${file}.js`) as T[];
}
