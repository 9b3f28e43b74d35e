import { RecentMap } from '../../kernel/recent-map';

/**
 * What a client sends of its own: when it connects, when a cluster or a sentinel redirects it, and to
 * group commands. An application that sends one of these itself is not charged either.
 */
const NOT_COUNTED: ReadonlySet<string> = new Set(
  `AUTH HELLO CLIENT SELECT READONLY READWRITE CLUSTER ASKING SENTINEL RESET QUIT
  MULTI EXEC DISCARD`.split(/\s+/),
);

/** By name as it is written: to change the case and to ask the set cost 60 ns more a command. */
const targets = new RecentMap<string>(1_000);

/** The name under which a command is counted; empty for one that is not. */
export function targetOf(name: string): string {
  const known = targets.get(name);
  if (known !== undefined) return known;
  const upper = name.toUpperCase();
  const target = NOT_COUNTED.has(upper) ? '' : upper;
  targets.set(name, target);
  return target;
}
