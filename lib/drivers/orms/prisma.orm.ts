import { readFileSync } from 'node:fs';
import { contextStorage } from '../../context/context-storage';
import { runOrmCall } from '../../cost/orm-call';
import type { DriverInstrumentation } from '../../instrumentation/driver-instrumentation';
import { loadedFiles } from '../../kernel/loaded-files';
import { replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';

const NAME = '@prisma/client';
const RUNTIME = /[\\/]runtime[\\/]client\.js$/;

/** Where the client of Prisma 7 looks for the helper of `@prisma/instrumentation`, at each call: first and then. */
const SLOT = 'V7_PRISMA_INSTRUMENTATION';
const OTHER_SLOT = 'PRISMA_INSTRUMENTATION';
/** What it takes where there is none, as `defaultHelper()` has it. */
const DEFAULT_HELPER =
  /\{isEnabled\(\)\{return!1\},getTraceParent\(\)\{return"00-10-10-00"\},dispatchEngineSpans\((?:(\w),(\w),(\w)\)\{for\(let (\w) of \2\)\3\(\4\)|\)\{)\},getActiveContext\(\)\{\},runInChildSpan\((\w),(\w)\)\{return \6\(\)\}\}/;

type RunInChildSpan = (this: unknown, options: unknown, callback: () => unknown) => unknown;

interface TracingHelper {
  runInChildSpan: RunInChildSpan;
}

interface Slot {
  readonly helper?: TracingHelper;
}

const holder = globalThis as { [SLOT]?: Slot | undefined; [OTHER_SLOT]?: Slot | undefined };

/**
 * Notes who awaits the calls of Prisma's client: it makes the queries of several `findUnique()` at once, and so those of
 * each of them, in a tick of its own.
 */
export function prismaCalls(): DriverInstrumentation {
  return {
    name: `${NAME} calls`,
    install() {
      const known = holder[SLOT]?.helper ?? holder[OTHER_SLOT]?.helper;
      if (known !== undefined) return takingBack(cover(known));
      if (!loadedFiles(NAME).some(path => RUNTIME.test(path) && hasDefaultHelper(path))) return undefined;
      const helper = defaultHelper();
      const own: Slot = {
        get helper() {
          return holder[OTHER_SLOT]?.helper ?? helper;
        },
      };
      holder[SLOT] = own;
      const giveBack = (): void => {
        if (holder[SLOT] === own) delete holder[SLOT];
      };
      return takingBack([giveBack, ...cover(helper)]);
    },
  };
}

/** Whether it is one that asks a helper for what ours has, and for nothing else. */
function hasDefaultHelper(path: string): boolean {
  try {
    const text = readFileSync(path, 'utf8');
    return text.includes('_PRISMA_INSTRUMENTATION`') && DEFAULT_HELPER.test(text);
  } catch {
    return false;
  }
}

/** Does what the client does by itself. */
function defaultHelper(): TracingHelper {
  const helper = {
    isEnabled: () => false,
    getTraceParent: () => '00-10-10-00',
    // Those of before 7.10 give no logs.
    dispatchEngineSpans(_spans: unknown, logs: Iterable<unknown> = [], each?: (log: unknown) => void) {
      for (const log of logs) each?.(log);
    },
    getActiveContext: () => undefined,
    runInChildSpan: (_options: unknown, callback: () => unknown) => callback(),
  };
  return helper;
}

/** The helper of `@prisma/instrumentation`, whose method is that of its class. */
function cover(helper: TracingHelper): (() => void)[] {
  let owner: object | null = helper;
  while (owner !== null && !Object.hasOwn(owner, 'runInChildSpan'))
    owner = Object.getPrototypeOf(owner) as object | null;
  return owner === null ? [] : replaceMethod<RunInChildSpan>(owner, 'runInChildSpan', noting);
}

function noting(original: RunInChildSpan): RunInChildSpan {
  return function runInChildSpan(options, callback) {
    const { name } = (options ?? {}) as { name?: unknown };
    const isCall = name === 'operation' && contextStorage.getStore() !== undefined;
    const run = (): unknown => original.call(this, options, callback);
    return isCall ? runOrmCall(run) : run();
  };
}
