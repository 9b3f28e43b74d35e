import { createHook } from 'node:async_hooks';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import type { ResourceNotes } from '../../context/request-context';
import { captureStack } from '../../kernel/call-site';
import { contextStorage } from '../../context/context-storage';
import { oncePerProcess } from '../../kernel/once-per-process';
import { replaceMethod } from '../../kernel/method-replacement';
import { takeBack } from '../../kernel/take-back';
import { typeOf } from './resource-types';
import type { ResourceType } from '../../context/request-context';

interface Shared {
  /** Monitors that run, of all applications. */
  users: number;
  /** Above 0 while the application opens what is meant to stay open. */
  exempt: number;
  /** What went wrong in a hook, for the next monitor that looks: nothing can be logged from within one. */
  hookError: unknown;
  start(): void;
  stop(): void;
}

const shared = oncePerProcess<Shared>('resource hook', () => {
  let undo: (() => void)[] = [];
  // No `destroy`: it has each promise tracked by the collector (Node 20: ten awaits 7.0 µs in place of 1.6).
  // Node 24 and later spare promises the call of `init` as well; others do not know the setting.
  const hook = createHook({ init, trackPromises: false } as Parameters<typeof createHook>[0]);
  return {
    users: 0,
    exempt: 0,
    hookError: undefined,
    start() {
      undo = replaceFileMethods();
      hook.enable();
    },
    stop() {
      hook.disable();
      try {
        takeBack(undo.splice(0));
      } finally {
        syncBuiltinESMExports();
      }
    },
  };
});

/** Has what is opened from now on noted; gives back what ends this. One hook for all who ask. */
export function useResourceHook(): () => void {
  if (shared.users === 0) shared.start();
  shared.users += 1;
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    shared.users -= 1;
    if (shared.users === 0) shared.stop();
  };
}

/** Runs `fn`; what it opens before it returns is not noted. */
export function withoutNotes<T>(fn: () => T): T {
  shared.exempt += 1;
  try {
    return fn();
  } finally {
    shared.exempt -= 1;
  }
}

/** What went wrong since this was asked last. */
export function takeHookError(): unknown {
  const { hookError } = shared;
  shared.hookError = undefined;
  return hookError;
}

function init(_id: number, asyncType: string, _trigger: number, resource: object): void {
  try {
    const type = typeOf(asyncType, resource);
    if (type !== undefined) notes()?.add(type, resource, captureStack(init));
  } catch (error) {
    // What is thrown in a hook of `async_hooks` ends the process.
    shared.hookError = error;
  }
}

/** Of the unit of work that runs, if it is one that is looked at. */
function notes(): ResourceNotes | undefined {
  return shared.exempt === 0 ? contextStorage.getStore()?.resources : undefined;
}

function guarded<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch (error) {
    shared.hookError = error;
    return undefined;
  }
}

/** Files are no resources of `async_hooks`, or are made outside of the context of who opens them. */
function replaceFileMethods(): (() => void)[] {
  const undo = [
    ...replaceMethod<typeof fs.createReadStream>(fs, 'createReadStream', original =>
      noting('read-stream', original),
    ),
    ...replaceMethod<typeof fs.createWriteStream>(fs, 'createWriteStream', original =>
      noting('write-stream', original),
    ),
    ...replaceMethod(fs.promises, 'open', notingHandles),
  ];
  // So that `import { open } from 'node:fs/promises'` sees them as well.
  syncBuiltinESMExports();
  return undo;
}

function noting<F extends typeof fs.createReadStream | typeof fs.createWriteStream>(
  type: ResourceType,
  original: F,
): F {
  return function replacement(this: unknown, ...args: Parameters<F>): unknown {
    const stream = Reflect.apply(original, this, args) as object;
    // One that was given its file has not opened it.
    const options = args[1] as { fd?: unknown } | string | undefined;
    if (typeof options !== 'object' || options?.fd == null) {
      guarded(() => notes()?.add(type, stream, captureStack(replacement)));
    }
    return stream;
  } as F;
}

function notingHandles(original: typeof fs.promises.open): typeof fs.promises.open {
  return function open(this: unknown, ...args: Parameters<typeof fs.promises.open>) {
    const opened = Reflect.apply(original, this, args);
    const unit = notes();
    const stack = unit && guarded(() => captureStack(open));
    if (stack === undefined) return opened;
    // Handed on in place of the first, so that a rejection that nobody handles stays one.
    return opened.then(handle => {
      guarded(() => unit?.add('file-handle', handle, stack));
      return handle;
    });
  };
}
