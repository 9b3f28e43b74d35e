import { oncePerProcess } from '../kernel/once-per-process';
import { takeBack } from '../kernel/take-back';

interface SharedHook {
  readonly users: Set<string>;
  readonly undo: (() => void)[];
}

const hooks = oncePerProcess('shared hooks', () => new Map<string, SharedHook>());

/**
 * Installs what several parts need, such as counting and propagation, each of which may go first: the last
 * one to leave takes it back. Called again, it installs what has been loaded since.
 *
 * @param user the part; what it is given back ends its use, and is given once
 */
export function shareHook(name: string, user: string, install: () => (() => void)[]): (() => void)[] {
  const hook = hooks.get(name) ?? { users: new Set(), undo: [] };
  hooks.set(name, hook);
  hook.undo.push(...install());
  if (hook.users.has(user)) return [];
  hook.users.add(user);
  return [
    () => {
      hook.users.delete(user);
      if (hook.users.size > 0) return;
      hooks.delete(name);
      takeBack(hook.undo.splice(0));
    },
  ];
}
