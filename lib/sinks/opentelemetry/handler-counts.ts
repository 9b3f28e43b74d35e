import type { Attributes } from '@opentelemetry/api';
import type { CostRecord } from '../../cost/cost-record';
import { type BoundedNames, OTHER } from '../bounded-names';
import { routeOf } from '../record-labels';
import { CAUSE, DIMENSION, FUNCTION_NAME, HTTP_ROUTE, KIND, OWNER } from './attribute-names';
import type { Instruments } from './instruments';
import { SpentTime } from './spent-time';

const MS_PER_SECOND = 1_000;
const CALLS = ['cache', 'http', 'messages'] as const;
const REPEAT = 'nestjs.repeat.kind';
const CALL = 'nestjs.call.dimension';
/** Routes and kinds of one handler; most have one. */
const MAX_ROUTES = 100;

interface Series {
  readonly attributes: Attributes;
  readonly spent: SpentTime;
}

/** Counts the records of one handler. */
export class HandlerCounts {
  readonly #instruments: Instruments;
  readonly #dimensions: BoundedNames;
  readonly #owners: BoundedNames;
  readonly #handler: string | undefined;
  readonly #byRoute = new Map<string, Series>();
  readonly #spent = new Set<SpentTime>();

  constructor(
    instruments: Instruments,
    handler: string | undefined,
    dimensions: BoundedNames,
    owners: BoundedNames,
  ) {
    this.#instruments = instruments;
    this.#handler = handler;
    this.#dimensions = dimensions;
    this.#owners = owners;
  }

  add(record: CostRecord): void {
    const { queries, slow, unhandledErrors = 0, blockedMs = 0 } = record;
    const to = this.#instruments;
    const { attributes, spent } = this.#seriesOf(record);
    const owned = record.owner === undefined ? {} : { [OWNER]: this.#owners.of(record.owner) };
    for (const { dimension } of record.breaches) {
      to.breaches.add(1, { ...attributes, ...owned, [DIMENSION]: this.#dimensions.of(dimension) });
    }
    // A part of a request is in the record of the request: sums over all handlers count it once.
    if (record.within !== undefined) return;
    to.queries.record(queries.count, attributes);
    to.rows.record(queries.rows, attributes);
    to.database.record(queries.durationMs / MS_PER_SECOND, attributes);
    // Those of HTTP are `http.server.request.duration`, and the operations of a batch are parts of one.
    if (record.method === undefined) to.duration.record(record.durationMs / MS_PER_SECOND, attributes);
    if (queries.waitMs > 0) to.poolWait.record(queries.waitMs / MS_PER_SECOND, attributes);
    if (blockedMs > 0) to.blocked.record(blockedMs / MS_PER_SECOND, attributes);
    if (queries.errors > 0) to.queryErrors.add(queries.errors, attributes);
    if (queries.late > 0) to.lateQueries.add(queries.late, attributes);
    if (unhandledErrors > 0) to.unhandledErrors.add(unhandledErrors, attributes);
    spent.add(record.time);
    this.#spent.add(spent);
    for (const dimension of CALLS) {
      const calls = record[dimension];
      if (calls !== undefined) to.calls.add(calls.count, { ...attributes, [CALL]: dimension });
    }
    if (slow !== undefined) to.slow.add(1, { ...attributes, [CAUSE]: slow.because });
    for (const { kind, confidence } of record.findings ?? []) {
      if (confidence !== 'suspected') to.repeated.add(1, { ...attributes, [REPEAT]: kind });
    }
  }

  /** Hands over what was added up since the last time. */
  endBatch(): void {
    for (const spent of this.#spent) spent.countIn(this.#instruments.time);
    this.#spent.clear();
  }

  #seriesOf({ kind, route, method }: CostRecord): Series {
    const known = this.#byRoute.get(`${kind} ${route}`);
    if (known !== undefined) return known;
    // `other` is many handlers, so it has no routes.
    const hasRoute = kind === 'http' && this.#handler !== OTHER && this.#byRoute.size < MAX_ROUTES;
    const pattern = hasRoute ? routeOf({ route, method }) : undefined;
    const key = pattern === undefined ? kind : `${kind} ${route}`;
    const kept = this.#byRoute.get(key) ?? this.#makeSeries(kind, pattern);
    this.#byRoute.set(key, kept);
    return kept;
  }

  #makeSeries(kind: string, route: string | undefined): Series {
    const attributes = {
      [KIND]: kind,
      ...(this.#handler !== undefined && { [FUNCTION_NAME]: this.#handler }),
      ...(route !== undefined && { [HTTP_ROUTE]: route }),
    };
    return { attributes, spent: new SpentTime(attributes) };
  }
}
