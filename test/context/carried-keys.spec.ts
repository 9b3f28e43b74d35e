import { Logger } from '@nestjs/common';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createContextKey } from 'nestjs-async-context';
import { carriedKey } from '../../lib/context/carried-keys';

describe('keys that travel', () => {
  afterEach(() => vi.restoreAllMocks());

  it('are at most 1,000, and more are said once, with the remedy', () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    const [first] = Array.from({ length: 1_000 }, (_, i) => createContextKey(`key-${i}`, { carry: true }));
    expect(carriedKey('key-999')).toBeDefined();
    expect(warn).not.toHaveBeenCalled();
    for (let i = 1_000; i < 3_000; i += 1) createContextKey(`key-${i}`, { carry: true });
    expect(carriedKey('key-1000')).toBeUndefined();
    expect(warn.mock.calls).toEqual([[expect.stringContaining('as a constant of a module')]]);
    // Those that are known stay, and a module that is evaluated anew declares its keys again.
    expect(carriedKey('key-0')).toBe(first);
    const again = createContextKey('key-0', { carry: true });
    expect(carriedKey('key-0')).toBe(again);
  });
});
