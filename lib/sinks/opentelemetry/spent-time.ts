import type { Attributes, Counter } from '@opentelemetry/api';
import type { TimePart, TimeRecord } from '../../cost/time-record';

const PART = 'nestjs.time.part';
const MS_PER_SECOND = 1_000;
const PARTS = Object.entries({
  databaseMs: 'database',
  poolMs: 'pool',
  httpMs: 'http',
  cacheMs: 'cache',
  messagesMs: 'messages',
  slotMs: 'slot',
  ownMs: 'own',
  stalledMs: 'stalled',
  unknownMs: 'unknown',
  starvedMs: 'starved',
  otherMs: 'other',
} satisfies Record<keyof TimeRecord, TimePart>) as [keyof TimeRecord, TimePart][];

/**
 * Where the time of one handler and route went, added up over a batch: an SDK takes 1 µs and more to find
 * the series of some attributes, and a record has three parts or more.
 */
export class SpentTime {
  readonly #ms = PARTS.map(() => 0);
  readonly #attributes: readonly Attributes[];

  constructor(attributes: Attributes) {
    this.#attributes = PARTS.map(([, part]) => ({ ...attributes, [PART]: part }));
  }

  add(time: TimeRecord): void {
    for (let i = 0; i < PARTS.length; i++) this.#ms[i]! += time[PARTS[i]![0]];
  }

  /** Hands over what was added up. */
  countIn(counter: Counter): void {
    for (const [i, ms] of this.#ms.entries()) {
      if (ms === 0) continue;
      counter.add(ms / MS_PER_SECOND, this.#attributes[i]);
      this.#ms[i] = 0;
    }
  }
}
