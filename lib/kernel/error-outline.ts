import { statSync } from 'node:fs';
import { AsyncContextError } from './errors';
import { applicationSite, type CallSite, describeCallSite, fileSite } from './call-site';
import { OwnError } from './own-error';

const CLASS_NAME = /^[\w$]{1,80}$/;
const CODE = /^[A-Z0-9_]{1,64}$/;
const FUNCTION_NAME = /^[\w$#<>]{1,80}$/;
const FRAME = /^ {4}at (?:async )?(?:(.{1,300}) \()?((?:file:\/\/|\/|[A-Za-z]:\\).{1,1000}):(\d+):(\d+)\)?$/;
const ASYNC = /^ {4}at async /;
const SOURCE = /\.[cm]?[jt]sx?$/;
const MAX_STACK = 32_768;
const MAX_MESSAGE = 300;

/** What may be said of an error: its text may hold anything. */
export interface ErrorOutline {
  /** `TypeError`; `undefined`, `string`, … for what is no error. */
  readonly name: string;
  /** `ECONNRESET` */
  readonly code: string | undefined;
  /** The nearest line of the application: `orders.service.ts:47 audit`. */
  readonly place: string | undefined;
}

/** Looks at an error and changes nothing of it; for what cannot be looked at, `object`. */
export function outlineOf(error: unknown): ErrorOutline {
  try {
    if (typeof error !== 'object' || error === null) return nothingBut(String(typeof error));
    const { code } = error as { code?: unknown };
    return {
      name: nameOf(error),
      code: typeof code === 'string' && CODE.test(code) ? code : undefined,
      place: lineOf(error, frame => applicationSite(frame, isSource)),
    };
  } catch {
    // A getter or a proxy of the application.
    return nothingBut('object');
  }
}

/**
 * An error in a line of the log: `TypeError (ERR_INVALID_ARG_TYPE) at orders.service.ts:47 audit`, or `in` a file
 * of a package where no line of the application is in its stack. Never throws.
 *
 * The errors of this package are said in their own words.
 *
 * @param withMessage whether its text is said, up to 300 characters
 */
export function describeError(error: unknown, withMessage: boolean): string {
  const own = ownWords(error);
  if (own !== undefined) return own;
  const { name, code, place } = outlineOf(error);
  const what = code === undefined ? name : `${name} (${code})`;
  const message = withMessage ? messageOf(error) : undefined;
  const frame = place === undefined ? frameOf(error) : undefined;
  return (
    (message === undefined ? what : `${what}: ${message}`) +
    (place === undefined ? '' : ` at ${place}`) +
    (frame === undefined ? '' : ` in ${frame}`)
  );
}

function ownWords(error: unknown): string | undefined {
  try {
    if (error instanceof OwnError || error instanceof AsyncContextError) return error.message;
  } catch {
    // A proxy that was revoked.
  }
  return undefined;
}

function messageOf(error: unknown): string | undefined {
  try {
    const message = typeof error === 'string' ? error : (error as { message?: unknown } | undefined)?.message;
    return typeof message === 'string' && message !== '' ? message.slice(0, MAX_MESSAGE) : undefined;
  } catch {
    return undefined;
  }
}

/** The nearest line of all, which is one of a package. */
function frameOf(error: unknown): string | undefined {
  try {
    return typeof error === 'object' && error !== null
      ? lineOf(error, frame => fileSite(frame, isSource))
      : undefined;
  } catch {
    return undefined;
  }
}

function nothingBut(name: string): ErrorOutline {
  return { name, code: undefined, place: undefined };
}

function nameOf(error: object): string {
  if (!(error instanceof Error)) return 'object';
  const names = [error.constructor.name, error.name];
  return names.find(name => typeof name === 'string' && CLASS_NAME.test(name)) ?? 'Error';
}

/**
 * The nearest line that is looked for, from the text of the stack: `Error.prepareStackTrace` would be seen
 * by who reads it after us.
 */
function lineOf(error: object, find: (frame: CallSite) => CallSite | undefined): string | undefined {
  const { stack, message } = error as { stack?: unknown; message?: unknown };
  if (typeof stack !== 'string') return undefined;
  // The message comes first, and may hold lines that look like frames.
  const at = typeof message === 'string' && message !== '' ? stack.indexOf(message) : -1;
  const from = at === -1 ? 0 : at + (message as string).length;
  for (const line of stack.slice(from, from + MAX_STACK).split('\n')) {
    const [, caller, path, row, column] = FRAME.exec(line) ?? [];
    if (path === undefined) continue;
    const frame = {
      file: path,
      line: Number(row),
      column: Number(column),
      name: functionName(caller),
      ...(ASYNC.test(line) && { isAwait: true }),
    };
    const site = find(frame);
    if (site !== undefined) return describeCallSite(site);
  }
  return undefined;
}

/** A stack may have come over the network, and the file of a frame is read for its source map. */
function isSource(file: string): boolean {
  return SOURCE.test(file) && statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}

function functionName(caller: string | undefined): string | undefined {
  const name = caller?.replace(/^new | \[as .*\]$/g, '').replace(/^.*\./, '');
  // Node's own names for what it calls: `Timeout._onTimeout`, `Immediate.<anonymous>`.
  return name && FUNCTION_NAME.test(name) && !/^(?:_on\w*|<anonymous>)$/.test(name) ? name : undefined;
}
