import { invalidArgument, invalidOption } from './errors';
import { nearestName } from './nearest-name';

/** `setTimeout` takes no longer delay. */
export const MAX_TIMER_MS = 2_147_483_647;

// Each throws `ASYNC_CONTEXT_INVALID_OPTION`, which names `call`, the path and the remedy.

export function readBoolean(path: string, value: unknown, call?: string): boolean {
  if (typeof value === 'boolean') return value;
  throw invalidOption(path, value, 'Use true or false.', call);
}

export function readShare(path: string, value: unknown, call?: string): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value;
  throw invalidOption(path, value, 'Use a number from 0 to 1, such as 0.1 for one in ten.', call);
}

export function readWhole(path: string, value: unknown, least: number, most: number, call?: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw invalidOption(path, value, `Use a whole number from ${least} to ${most}.`, call);
}

export function checkFunction(path: string, value: unknown, call?: string): void {
  if (value === undefined || typeof value === 'function') return;
  throw invalidOption(path, value, 'Use a function, or omit it.', call);
}

export function checkObject(path: string, value: unknown, known: readonly string[], call?: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const remedy = `Use an object with any of ${known.join(', ')}.`;
    throw path === '' ? invalidArgument(value, remedy, call) : invalidOption(path, value, remedy, call);
  }
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    const at = path === '' ? name : `${path}.${name}`;
    const nearest = nearestName(name, known);
    const meant = nearest === undefined ? '' : ` Did you mean ${nearest}?`;
    throw invalidOption(
      at,
      (value as Record<string, unknown>)[name],
      `There is no such option.${meant} Use ${known.join(', ')}.`,
      call,
    );
  }
}
