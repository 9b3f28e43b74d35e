/** Hosts kept for one unit of work; the rest is counted in the totals alone. */
const MAX_TARGETS = 50;
const MAX_TARGET_LENGTH = 100;

/** What an answer of another service says of its cost: its own, and that of those it has asked. */
export interface RemoteCost {
  readonly queries: number;
  readonly rows: number;
  /** Milliseconds of database time: the sum of the durations of its queries. */
  readonly durationMs: number;
}

/** Running cost at one host. */
export interface RemoteTargetCost {
  calls: number;
  queries: number;
  rows: number;
  durationMs: number;
}

/** Adds up what the services that a unit of work asks say of their cost. */
export class RemoteLedger implements RemoteTargetCost {
  /** Answers that said something. */
  calls = 0;
  queries = 0;
  rows = 0;
  durationMs = 0;
  /** By host, at most 50. */
  readonly targets = new Map<string, RemoteTargetCost>();

  add(host: string, cost: RemoteCost): void {
    addTo(this, cost);
    const target = this.#targetOf(host.slice(0, MAX_TARGET_LENGTH));
    if (target !== undefined) addTo(target, cost);
  }

  #targetOf(host: string): RemoteTargetCost | undefined {
    const known = this.targets.get(host);
    if (known !== undefined || this.targets.size >= MAX_TARGETS) return known;
    const target = { calls: 0, queries: 0, rows: 0, durationMs: 0 };
    this.targets.set(host, target);
    return target;
  }
}

function addTo(sum: RemoteTargetCost, { queries, rows, durationMs }: RemoteCost): void {
  sum.calls += 1;
  sum.queries += queries;
  sum.rows += rows;
  sum.durationMs += durationMs;
}
