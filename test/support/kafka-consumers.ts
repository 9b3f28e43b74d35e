import { int16, int32, int64, list, type Reader, text } from './kafka-server';

/** Requests of consumers by their key, in the one version that is answered. */
const FETCH = 1;
const COMMIT_OFFSETS = 8;
const FETCH_OFFSETS = 9;
const JOIN_GROUP = 11;
const HEARTBEAT = 12;
const LEAVE_GROUP = 13;
const SYNC_GROUP = 14;

/** Where a batch of records has its first offset, and how far its last is from that. */
const BASE_OFFSET = 0;
const LAST_OFFSET_DELTA = 23;

/**
 * What the stand-in for Kafka gives to the real consumers: groups of one member, which begin at the first
 * message of a topic, whose one partition is kept as it came.
 */
export class KafkaConsumers {
  readonly versions: Readonly<Record<number, number>> = {
    [FETCH]: 4,
    [COMMIT_OFFSETS]: 2,
    [FETCH_OFFSETS]: 1,
    [JOIN_GROUP]: 0,
    [HEARTBEAT]: 0,
    [LEAVE_GROUP]: 0,
    [SYNC_GROUP]: 0,
  };
  /** The batches of each topic, with their offsets. */
  readonly #batches = new Map<string, { readonly next: number; readonly batch: Buffer }[]>();
  readonly #members = new Map<string, number>();
  #waiting: (() => void)[] = [];

  knows(key: number): boolean {
    return key in this.versions;
  }

  add(topic: string, produced: Buffer): void {
    const batches = this.#batches.get(topic) ?? [];
    const first = batches.at(-1)?.next ?? 0;
    const batch = Buffer.from(produced);
    batch.writeBigInt64BE(BigInt(first), BASE_OFFSET);
    batches.push({ next: first + batch.readInt32BE(LAST_OFFSET_DELTA) + 1, batch });
    this.#batches.set(topic, batches);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async answerTo(key: number, request: Reader): Promise<Buffer> {
    switch (key) {
      case JOIN_GROUP:
        return this.#join(request);
      case SYNC_GROUP: {
        request.text();
        request.int32();
        request.text();
        const [assignment] = request.list(() => [request.text(), request.bytes(request.int32())] as const);
        return Buffer.concat([int16(0), bytes(assignment?.[1] ?? Buffer.alloc(0))]);
      }
      case FETCH_OFFSETS: {
        request.text();
        return topicsOf(request, () => [int64(0), text(''), int16(0)]);
      }
      case COMMIT_OFFSETS: {
        request.text();
        request.int32();
        request.text();
        request.skip(8);
        return topicsOf(request, () => {
          request.skip(8);
          request.text();
          return [int16(0)];
        });
      }
      case FETCH:
        return this.#fetch(request);
      default:
        return int16(0);
    }
  }

  /** The only member of its group, and so its leader: a new one puts an end to the one before. */
  #join(request: Reader): Buffer {
    const group = request.text();
    request.int32();
    const member = request.text() || `${group}-member`;
    request.text();
    const [protocol] = request.list(() => [request.text(), request.bytes(request.int32())] as const);
    const generation = (this.#members.get(group) ?? 0) + 1;
    this.#members.set(group, generation);
    const members = list([Buffer.concat([text(member), bytes(protocol![1])])]);
    return Buffer.concat([
      int16(0),
      int32(generation),
      text(protocol![0]),
      text(member),
      text(member),
      members,
    ]);
  }

  async #fetch(request: Reader): Promise<Buffer> {
    request.int32();
    const maxWaitMs = request.int32();
    request.skip(4 + 4 + 1);
    const wanted = request.list(() => {
      const topic = request.text();
      const [partition] = request.list(() => {
        const id = request.int32();
        const offset = Number(request.int64());
        request.int32();
        return { id, offset };
      });
      return { topic, ...partition! };
    });
    const isThere = (): boolean => wanted.some(({ topic, offset }) => this.#from(topic, offset).length > 0);
    if (!isThere()) await this.#wait(maxWaitMs);
    const topics = wanted.map(({ topic, id, offset }) => {
      const records = Buffer.concat(this.#from(topic, offset));
      const end = int64(this.#batches.get(topic)?.at(-1)?.next ?? 0);
      const partition = Buffer.concat([int32(id), int16(0), end, end, int32(-1), bytes(records)]);
      return Buffer.concat([text(topic), list([partition])]);
    });
    return Buffer.concat([int32(0), list(topics)]);
  }

  #from(topic: string, offset: number): Buffer[] {
    const batches = this.#batches.get(topic) ?? [];
    return batches.flatMap(({ next, batch }) => (next > offset ? [batch] : []));
  }

  #wait(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms).unref();
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

function topicsOf(request: Reader, answer: () => Buffer[]): Buffer {
  const topics = request.list(() => {
    const topic = request.text();
    const partitions = request.list(() => Buffer.concat([int32(request.int32()), ...answer()]));
    return Buffer.concat([text(topic), list(partitions)]);
  });
  return list(topics);
}

function bytes(value: Buffer): Buffer {
  return Buffer.concat([int32(value.length), value]);
}
